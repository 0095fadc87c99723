"""A local LaunchDarkly over a flag file: REST, stream, polling and events for one project and one environment.

What the REST API knows of a flag and the SDKs' model does not (ids and names of variations, tags, approvals, the
audit log) lies in the same file under a member of its own, so that a restart loses nothing.
"""
