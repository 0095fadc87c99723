"""Detached OpenSSF model signatures: made with a key or by Sigstore, verified without a network.

The library `model-signing` does the cryptography and reads the bytes. What it cannot know is added here: whose
signature counts, and that the signature speaks of exactly the files that the manifest declares. Nothing of it is
imported before a manifest names a signature.
"""

from rollout.integrations.signing.making import PrivateKey, SigstoreIdentity
from rollout.integrations.signing.verification import ReadPolicyFile, verify

__all__ = ["PrivateKey", "ReadPolicyFile", "SigstoreIdentity", "verify"]
