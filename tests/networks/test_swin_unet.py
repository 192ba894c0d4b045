"""How the SwinUnet's decoder begins, and its options."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from igl_dt.networks.architectures.swin_unet import PatchExpanding, SwinUnet, SwinUnetParameters

NAME = "swin_tiny_patch4_window7_224"
OPTIONS = {"embed_dim": 8, "depths": [2, 3, 2], "num_heads": [1, 2, 4], "window_size": 4, "img_size": 64}


def build(options: dict[str, object] = OPTIONS, pretrained: str | None = None, **parameters) -> SwinUnet:
    encoder = {"name": NAME, "options": options, "pretrained": pretrained}
    return SwinUnet(SwinUnetParameters(encoder=encoder, **parameters), ("a", "b"))


def assert_decoder_starts_from_encoder(network: SwinUnet, depth: int) -> None:
    for stage, encoder_stage in zip(network.decoder, (network.encoder.layers_1, network.encoder.layers_0), strict=True):
        assert len(stage.blocks) == depth
        for block, encoder_block in zip(stage.blocks, encoder_stage.blocks, strict=False):
            assert (block.window_size, block.shift_size) == (encoder_block.window_size, encoder_block.shift_size)
            for (name, value), (_, expected) in zip(
                block.named_parameters(), encoder_block.named_parameters(), strict=True
            ):
                assert torch.equal(value, expected), name
                assert value is not expected, f"{name} is shared with the encoder"


@pytest.mark.parametrize("depth", [1, 2])
def test_decoder_starts_from_the_encoder(depth: int):
    assert_decoder_starts_from_encoder(build(decoder_depth=depth), depth)


def test_decoder_starts_from_the_pretrained_encoder(tmp_path: Path):
    whole = timm.create_model(NAME, **OPTIONS)
    torch.save(whole.state_dict(), tmp_path / "swin.pth")
    network = build(pretrained=str(tmp_path / "swin.pth"))
    assert torch.equal(network.encoder.layers_0.blocks[0].attn.qkv.weight, whole.layers[0].blocks[0].attn.qkv.weight)
    assert_decoder_starts_from_encoder(network, 2)


def test_decoder_cannot_be_deeper_than_the_encoder():
    with pytest.raises(ValueError, match=r"network.decoder_depth is 3, but must be at most 2"):
        build(decoder_depth=3)


def test_second_version_of_swin():
    encoder = {"name": "swinv2_tiny_window8_256", "options": {**OPTIONS, "img_size": 32}}
    network = SwinUnet(SwinUnetParameters(encoder=encoder), ("a", "b")).eval()
    assert network(torch.zeros(1, 3, 40, 50)).logits.shape == (1, 2, 40, 50)


@pytest.mark.parametrize("patch_size", [2, 4, 8])
def test_convolutional_stem_halves_until_the_patch_size(patch_size: int):
    network = build({**OPTIONS, "patch_size": patch_size}, stem="convolutional").eval()
    convolutions = [module for module in network.encoder.patch_embed.modules() if isinstance(module, nn.Conv2d)]
    pair = [((3, 3), (2, 2)), ((3, 3), (1, 1))]
    assert [(c.kernel_size, c.stride) for c in convolutions] == pair * (patch_size.bit_length() - 1)
    tokens = network.encoder.patch_embed(torch.zeros(1, 3, 32, 64))
    assert tokens.shape == (1, 32 // patch_size, 64 // patch_size, 8)
    assert network(torch.zeros(1, 3, 32, 64)).logits.shape == (1, 2, 32, 64)


def test_head_channels_set_the_width_at_full_resolution():
    network = build(OPTIONS, head_channels=5).eval()
    output = network(torch.zeros(1, 3, 32, 64))
    assert network.feature_channels == 5
    assert output.features.shape == (1, 5, 32, 64)


def test_convolutional_stem_needs_a_power_of_two():
    with pytest.raises(ValueError, match=r"network.stem: .* patch size of 2, 4, 8, …; got 3"):
        build({**OPTIONS, "patch_size": 3}, stem="convolutional")


def test_patch_expanding_puts_channels_into_place():
    expand = PatchExpanding(6, 3, 2)
    tokens = torch.randn(1, 2, 3, 6)
    expanded = expand(tokens)
    assert expanded.shape == (1, 4, 6, 3)
    for row in range(4):
        for column in range(6):
            part = 2 * (row % 2) + column % 2
            weight = expand.linear.weight[3 * part : 3 * part + 3]
            expected = expand.norm(tokens[0, row // 2, column // 2] @ weight.T)
            torch.testing.assert_close(expanded[0, row, column], expected)
