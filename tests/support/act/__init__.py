"""Workflow files of a consumer's repository, executed on this machine by act against a simulated GitHub.

The composite actions and workflows are those of this working copy. What act cannot do is stood in for, and nothing else:
third-party actions (`stubs/`; `actions/checkout` clones the bare remote), `$/` in `uses:`, and keys that it does not know.
"""
