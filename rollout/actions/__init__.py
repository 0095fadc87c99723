"""What the GitHub actions run: inputs from the environment, one `rollout` verb, outputs and reports where GitHub looks.

`python -m rollout.actions VERB`. The YAML in `actions/` is glue: everything that can be wrong is here, and tested.
"""
