"""MONAI transforms that MONAI lacks: a plain square resize, a guarded normalisation, the side image's augmentation, and
what fundus photographs, skin lesions, mammograms, chest X-rays and CT slices are prepared with (docs/transforms.md)."""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.transforms.array import (
    FPTNormalize,
    FPTResize,
    RandFPTSideAugment,
)
from monai_fpt.transforms.breast import (
    FPTBreastCrop,
    FPTBreastCropD,
    FPTBreastCropd,
    FPTBreastCropDict,
)
from monai_fpt.transforms.colour import (
    FPTGreyToRGB,
    FPTGreyToRGBD,
    FPTGreyToRGBd,
    FPTGreyToRGBDict,
    FPTShadesOfGray,
    FPTShadesOfGrayD,
    FPTShadesOfGrayd,
    FPTShadesOfGrayDict,
)
from monai_fpt.transforms.describe import (
    fpt_describe,
)
from monai_fpt.transforms.dictionary import (
    FPTNormalizeD,
    FPTNormalized,
    FPTNormalizeDict,
    FPTResizeD,
    FPTResized,
    FPTResizeDict,
    RandFPTSideAugmentD,
    RandFPTSideAugmentd,
    RandFPTSideAugmentDict,
)
from monai_fpt.transforms.fundus import (
    FPTBenGraham,
    FPTBenGrahamD,
    FPTBenGrahamd,
    FPTBenGrahamDict,
    FPTCircleMask,
    FPTCircleMaskD,
    FPTCircleMaskd,
    FPTCircleMaskDict,
    FPTFundusCrop,
    FPTFundusCropD,
    FPTFundusCropd,
    FPTFundusCropDict,
)
from monai_fpt.transforms.intensity import (
    FPTClahe,
    FPTClaheD,
    FPTClahed,
    FPTClaheDict,
    FPTPercentileScale,
    FPTPercentileScaleD,
    FPTPercentileScaled,
    FPTPercentileScaleDict,
    FPTWindow,
    FPTWindowD,
    FPTWindowd,
    FPTWindowDict,
)
from monai_fpt.transforms.laterality import (
    FPTLateralityFlip,
    FPTLateralityFlipD,
    FPTLateralityFlipd,
    FPTLateralityFlipDict,
)
from monai_fpt.transforms.rebuild import fpt_transforms
from monai_fpt.transforms.resize_pad import (
    FPTResizePad,
    FPTResizePadD,
    FPTResizePadd,
    FPTResizePadDict,
)

__all__ = [
    "FPTBenGraham",
    "FPTBenGrahamD",
    "FPTBenGrahamDict",
    "FPTBenGrahamd",
    "FPTBreastCrop",
    "FPTBreastCropD",
    "FPTBreastCropDict",
    "FPTBreastCropd",
    "FPTCircleMask",
    "FPTCircleMaskD",
    "FPTCircleMaskDict",
    "FPTCircleMaskd",
    "FPTClahe",
    "FPTClaheD",
    "FPTClaheDict",
    "FPTClahed",
    "FPTFundusCrop",
    "FPTFundusCropD",
    "FPTFundusCropDict",
    "FPTFundusCropd",
    "FPTGreyToRGB",
    "FPTGreyToRGBD",
    "FPTGreyToRGBDict",
    "FPTGreyToRGBd",
    "FPTLateralityFlip",
    "FPTLateralityFlipD",
    "FPTLateralityFlipDict",
    "FPTLateralityFlipd",
    "FPTNormalize",
    "FPTNormalizeD",
    "FPTNormalizeDict",
    "FPTNormalized",
    "FPTPercentileScale",
    "FPTPercentileScaleD",
    "FPTPercentileScaleDict",
    "FPTPercentileScaled",
    "FPTResize",
    "FPTResizeD",
    "FPTResizeDict",
    "FPTResizePad",
    "FPTResizePadD",
    "FPTResizePadDict",
    "FPTResizePadd",
    "FPTResized",
    "FPTShadesOfGray",
    "FPTShadesOfGrayD",
    "FPTShadesOfGrayDict",
    "FPTShadesOfGrayd",
    "FPTWindow",
    "FPTWindowD",
    "FPTWindowDict",
    "FPTWindowd",
    "RandFPTSideAugment",
    "RandFPTSideAugmentD",
    "RandFPTSideAugmentDict",
    "RandFPTSideAugmentd",
    "fpt_describe",
    "fpt_transforms",
]
