"""Training: one loop, and a training method is just a loss."""

from robustcourse.train.augment import CropFlip
from robustcourse.train.average import EMA, SWA
from robustcourse.train.awp import AWP
from robustcourse.train.certified import IBP, MTLIBP, SABR, CrownIBP, Ramp
from robustcourse.train.checkpoint import History
from robustcourse.train.curriculum import Curriculum
from robustcourse.train.denoise import Denoiser, Denoising, Stability
from robustcourse.train.distill import ARD, RSLAD
from robustcourse.train.fit import Diverged, fit
from robustcourse.train.free import Free
from robustcourse.train.hold_out import HoldOut
from robustcourse.train.lipschitz import LipschitzMargin
from robustcourse.train.mart import MART
from robustcourse.train.objectives import AdversarialTraining, Objective, Robust, Standard
from robustcourse.train.penalties import GaussianNoise, GradientPenalty, SpectralPenalty
from robustcourse.train.schedules import Steps, Triangle, constant, cosine
from robustcourse.train.single_step import NFGSM, fast
from robustcourse.train.smoothing import Consistency, SmoothAdv
from robustcourse.train.trades import TRADES

__all__ = [
    "ARD",
    "AWP",
    "EMA",
    "IBP",
    "MART",
    "MTLIBP",
    "NFGSM",
    "RSLAD",
    "SABR",
    "SWA",
    "TRADES",
    "AdversarialTraining",
    "Consistency",
    "CropFlip",
    "CrownIBP",
    "Curriculum",
    "Denoiser",
    "Denoising",
    "Diverged",
    "Free",
    "GaussianNoise",
    "GradientPenalty",
    "History",
    "HoldOut",
    "LipschitzMargin",
    "Objective",
    "Ramp",
    "Robust",
    "SmoothAdv",
    "SpectralPenalty",
    "Stability",
    "Standard",
    "Steps",
    "Triangle",
    "constant",
    "cosine",
    "fast",
    "fit",
]
