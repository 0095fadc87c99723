"""`rollout serve run`, also without the word."""

from __future__ import annotations

from pathlib import Path

import click


# The options of the verb, by which variables of the environment set them too.
@click.command(context_settings={"auto_envvar_prefix": "ROLLOUT_SERVE"})
@click.argument("model_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--served-model-name", "name", default="base", show_default=True, help="Name of the base model."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--dtype", default="float32", show_default=True, type=click.Choice(["float32", "bfloat16", "float16"])
)
@click.option("--quantization", default="none", show_default=True, type=click.Choice(["none", "nf4"]))
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="Load this one at the start.")
@click.option(
    "--adapter-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Adapters may be loaded at runtime from below this folder; without it, not at all.",
)
@click.option("--max-lora-rank", default=16, show_default=True, type=click.IntRange(1))
@click.option(
    "--max-loras",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="Different adapters in one batch.",
)
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1, 1024))
@click.option("--threads", type=click.IntRange(1), help="CPU threads of one operation.")
def command(
    *,
    model_folder: Path,
    name: str,
    host: str,
    port: int,
    dtype: str,
    quantization: str,
    device: str,
    adapters: tuple[str, ...],
    adapter_root: Path | None,
    max_lora_rank: int,
    max_loras: int,
    batch_size: int,
    threads: int | None,
) -> int:
    """Run the embedded OpenAI-compatible server over transformers and PEFT.

    It answers on one port like a vLLM with runtime LoRA loading. It knows no API keys: bind it to an address
    that only the gateway reaches.
    """
    from rollout.core.manifest import Dtype, Quantization
    from rollout.integrations.transformers import BatchDecoder, TextCodec, open_base
    from rollout.server.app import ServerSettings, create_app
    from rollout.server.generating import Limits
    from rollout.server.run import run
    from rollout.server.shelf import preload

    first = _named_paths(adapters)
    base = open_base(
        model_folder,
        dtype=Dtype(dtype),
        quantization=Quantization(quantization),
        device=device,
        threads=threads,
    )
    decoder = BatchDecoder(base, max_rank=max_lora_rank)
    settings = ServerSettings(
        base_name=name,
        base_root=str(model_folder),
        limits=Limits(context_length=base.context_length, vocabulary=base.vocabulary),
        batch_size=batch_size,
        max_loras=max_loras,
        adapter_root=adapter_root,
        offers=preload(decoder, first, base_name=name),
    )
    app = create_app(decoder, TextCodec(base.tokenizer), settings)
    return 0 if run(app, host=host, port=port) else 1


def _named_paths(adapters: tuple[str, ...]) -> dict[str, str]:
    named: dict[str, str] = {}
    for adapter in adapters:
        name, separator, path = adapter.partition("=")
        if not separator or not name or not path or name in named:
            raise click.UsageError(f"--adapter takes NAME=PATH, each name once; got {adapter!r}")
        named[name] = path
    return named
