"""How the SwinUnet's decoder begins, and its options."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from igl_dt.networks.architectures.swin_unet import PatchExpanding, SwinUnet, SwinUnetParameters
from igl_dt.networks.io import load_network, save_network
from igl_dt.networks.pretrained import packaged_weights

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


class TestPyramidStem:
    LITE = {"name": "tf_efficientnet_lite0"}  # noqa: RUF012

    def test_starts_from_packaged_weights(self):
        network = build(stem="pyramid", stem_encoder={**self.LITE, "pretrained": "package"}).eval()
        weights, digest = packaged_weights("tf_efficientnet_lite0", "pretrained")
        stem = network.encoder.patch_embed
        assert torch.equal(stem.backbone.model.conv_stem.weight, weights["conv_stem.weight"])
        assert network.pretrained_sha256 == {"stem_encoder": digest}
        assert network.configuration["mean"] == [0.5, 0.5, 0.5]
        assert network.configuration["parameters"]["stem_encoder"]["pretrained"] is None
        assert [tokens.shape for tokens in stem(torch.zeros(1, 3, 64, 96))] == [
            (1, 16, 24, 8),
            (1, 8, 12, 16),
            (1, 4, 6, 32),
        ]
        assert network(torch.zeros(1, 3, 37, 51)).logits.shape == (1, 2, 37, 51)

    def test_every_stages_tokens_count(self):
        network = build(stem="pyramid", stem_encoder=self.LITE).eval()  # in training, blocks are dropped at random
        images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        network(images).logits.square().mean().backward()
        names = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert [name for name in names if not name.endswith("bias")] == []

    def test_stages_run_as_timms_do(self):
        """With nothing added, the stages give what timm's own loop gives."""
        network = build(stem="pyramid", stem_encoder=self.LITE).eval()
        stem = network.encoder.patch_embed
        for projection in list(stem.projections)[1:]:
            nn.init.zeros_(projection[1].weight)
        images = torch.rand(1, 3, 64, 64)
        expected = network.encode_normalised(images)
        network.encoder.patch_embed = nn.Sequential()  # the tokens themselves
        with torch.no_grad():
            for maps, tokens in zip(expected, network.encoder(stem(images)[0]), strict=True):
                assert torch.equal(maps, tokens.permute(0, 3, 1, 2))

    def test_round_trip(self, tmp_path: Path):
        network = build(stem="pyramid", stem_encoder={**self.LITE, "freeze": True})
        assert not network.encoder.patch_embed.backbone.training
        assert network.encoder.layers_0.training
        assert not any(p.requires_grad for p in network.encoder.patch_embed.backbone.parameters())
        save_network(network, tmp_path / "network.safetensors")
        loaded = load_network(tmp_path / "network.safetensors")
        assert loaded.configuration == network.configuration
        images = torch.zeros(1, 3, 32, 32)
        assert torch.equal(loaded(images).logits, network.eval()(images).logits)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"stem": "pyramid"}, "network.stem_encoder is missing"),
            (
                {"stem": "pyramid", "stem_encoder": {"name": "vit_tiny_patch16_224"}},
                "network.stem_encoder.name: the features of vit_tiny_patch16_224 have strides .* stride 4",
            ),
            (
                {"stem": "pyramid", "stem_encoder": {"name": "resnet18", "pretrained": "package"}},
                "network.stem_encoder.pretrained: there is no package",
            ),
        ],
    )
    def test_backbones_that_do_not_fit(self, parameters: dict[str, object], message: str):
        with pytest.raises(ValueError, match=message):
            build(**parameters)

    @pytest.mark.parametrize("stem", ["pyramid", "convolutional"])
    def test_untrained_stems_cannot_be_frozen(self, stem: str):
        encoder = {"name": NAME, "options": OPTIONS, "freeze": True}
        with pytest.raises(ValueError, match=r"network.encoder.freeze: a frozen encoder needs `stem: patches`"):
            SwinUnet(SwinUnetParameters(encoder=encoder, stem=stem, stem_encoder=self.LITE), ("a", "b"))
