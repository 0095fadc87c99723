"""`rollout sign`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.signing import SignatureFact
    from rollout.ports import ModelSigner
    from rollout.usecases.sign import Signed

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("manifest", type=_FILE)
@click.option("--key", type=_FILE, help="Sign with the EC private key in this PEM file.")
@click.option("--password-env", metavar="NAME", help="Environment variable that holds the key's password.")
@click.option(
    "--sigstore", is_flag=True, help="Sign as the identity of this workflow, or of you in a browser."
)
@click.option(
    "--identity-token-env", metavar="NAME", help="Environment variable that holds an OpenID Connect token."
)
@click.option("--trust-config", type=_FILE, help="Sigstore instance to sign with.  [default: the public one]")
@click.option(
    "--folder", type=_FOLDER, help="Where the adapter lies.  [default: the manifest's artifact.uri]"
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(
    *,
    manifest: Path,
    key: Path | None,
    password_env: str | None,
    sigstore: bool,
    identity_token_env: str | None,
    trust_config: Path | None,
    folder: Path | None,
    dry_run: bool,
) -> int:
    """Sign a manifest's adapter in the form of OpenSSF model signing.

    The detached signature is put into the adapter's folder and named in the MANIFEST. It is over exactly the
    files that the manifest declares, and made only if the folder holds these and nothing else. Signing again
    changes nothing. An adapter that will be published elsewhere is signed in the --folder it is published from.
    """
    from rollout import wiring

    if (key is None) is not sigstore:
        raise click.UsageError("say who signs: --key PATH or --sigstore")
    root = wiring.find_root(Path.cwd())
    signer: ModelSigner
    if key is not None:
        signer = wiring.private_key(key, password=_secret(password_env))
    else:
        signer = wiring.sigstore_identity(root, token=_secret(identity_token_env), trust_config=trust_config)
    path = wiring.path_below(root, manifest)
    signed, fact = wiring.sign_adapter(root, path, signer, folder=folder, dry_run=dry_run)
    _say(signed, fact, str(path), root, dry_run=dry_run)
    return 0


def _secret(name: str | None) -> str | None:
    """The content of an environment variable, which is never shown. Raises Usage if there is none."""
    if name is None:
        return None
    if not os.environ.get(name):
        raise Usage(f"the environment variable {name} is empty or not set")
    return os.environ[name]


def _say(signed: Signed, fact: SignatureFact, manifest: str, root: Path, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    where = signed.signature.relative_to(root) if signed.signature.is_relative_to(root) else signed.signature
    click.echo(f"{where}: " + (f"{would}signed" if signed.made else "was signed already"))
    if signed.named:
        click.echo(f"{manifest}: artifact.signature {would or 'is '}set to {signed.signature.name}")
    if fact.verified:
        click.echo(f"policies/signers.yaml trusts it: {fact.signer}")
    elif not dry_run:
        click.secho(f"policies/signers.yaml does not trust it yet: {fact.problem}", fg="yellow", err=True)
