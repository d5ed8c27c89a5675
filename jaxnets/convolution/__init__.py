"""Convolutional networks with the published parameter counts, and the blocks they share."""

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import ConvNorm, SqueezeExcite, StochasticDepth
from jaxnets.convolution.branches import attention_gate, highway_gate, stochastic_depth
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.conv_transpose import ConvTranspose
from jaxnets.convolution.convolve import convolve
from jaxnets.convolution.highway import ConvHighwayLayer, ConvHighwayNetwork, HighwayLayer, HighwayNetwork
from jaxnets.convolution.models.alexnet import AlexNet, alexnet, alexnet_2012
from jaxnets.convolution.models.cifar_resnet import (
    CifarResNet,
    cifar_resnet20,
    cifar_resnet32,
    cifar_resnet44,
    cifar_resnet56,
    cifar_resnet110,
)
from jaxnets.convolution.models.convnext import (
    ConvNeXt,
    ConvNeXtBlock,
    convnext_base,
    convnext_large,
    convnext_small,
    convnext_tiny,
)
from jaxnets.convolution.models.densenet import (
    DenseLayer,
    DenseNet,
    Transition,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
)
from jaxnets.convolution.models.efficientnet import (
    EfficientNet,
    MBConv,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from jaxnets.convolution.models.googlenet import GoogLeNet, Inception, googlenet
from jaxnets.convolution.models.lenet import LeNet5, lenet5, lenet5_wide
from jaxnets.convolution.models.residual_attention import (
    AttentionModule,
    ResidualAttentionNetwork,
    residual_attention56,
    residual_attention92,
)
from jaxnets.convolution.models.resnet import (
    Bottleneck,
    ResidualBlock,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from jaxnets.convolution.models.series_cnn import SeriesCNN
from jaxnets.convolution.models.tcn import TCN, TemporalBlock, receptive_field
from jaxnets.convolution.models.unet import UNet, unet
from jaxnets.convolution.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from jaxnets.convolution.models.wide_resnet import WideResNet, wide_resnet16_4, wide_resnet28_10
from jaxnets.convolution.normalization import local_response_norm
from jaxnets.convolution.pooling import adaptive_average_pool, max_pool
from jaxnets.convolution.transposed_convolve import transposed_convolve

__all__ = [
    "TCN",
    "VGG",
    "AlexNet",
    "AttentionModule",
    "BatchNorm",
    "Bottleneck",
    "CifarResNet",
    "Conv",
    "ConvHighwayLayer",
    "ConvHighwayNetwork",
    "ConvNeXt",
    "ConvNeXtBlock",
    "ConvNorm",
    "ConvTranspose",
    "DenseLayer",
    "DenseNet",
    "EfficientNet",
    "GoogLeNet",
    "HighwayLayer",
    "HighwayNetwork",
    "Inception",
    "LeNet5",
    "MBConv",
    "ResNet",
    "ResidualAttentionNetwork",
    "ResidualBlock",
    "SeriesCNN",
    "SqueezeExcite",
    "StochasticDepth",
    "TemporalBlock",
    "Transition",
    "UNet",
    "WideResNet",
    "adaptive_average_pool",
    "alexnet",
    "alexnet_2012",
    "attention_gate",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
    "cifar_resnet110",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "convolve",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "googlenet",
    "highway_gate",
    "lenet5",
    "lenet5_wide",
    "local_response_norm",
    "max_pool",
    "receptive_field",
    "residual_attention56",
    "residual_attention92",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "stochastic_depth",
    "transposed_convolve",
    "unet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet16_4",
    "wide_resnet28_10",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
