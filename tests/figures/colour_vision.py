"""How different two colours look: CAM02-UCS distance, also as seen with a colour-vision deficiency;
and WCAG contrast.

CIECAM02 (CIE 159:2004) in the viewing conditions of sRGB (D65, L_A = 64/(5 pi) cd/m2, Y_b = 20,
average surround), then the uniform space of Luo, Cui and Li (2006). Deficiencies: Machado, Oliveira
and Fernandes (2009), severity 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

D65 = np.array([95.047, 100.0, 108.883])
TO_XYZ = 100 * np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
CAT02 = np.array([[0.7328, 0.4296, -0.1624], [-0.7036, 1.6975, 0.0061], [0.0030, 0.0136, 0.9834]])
HPE = np.array([[0.38971, 0.68898, -0.07868], [-0.22981, 1.18340, 0.04641], [0.0, 0.0, 1.0]])
DEFICIENCIES = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear_rgb(hex_colour: str) -> Array:
    """Linear sRGB in 0..1 of '#rrggbb'."""
    c = np.array([int(hex_colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def ciecam02(
    xyz: ArrayLike, white: ArrayLike, L_A: float, Y_b: float = 20.0
) -> tuple[float, float, float]:
    """Lightness J, colourfulness M and hue angle h (degrees) in an average surround (F 1, c 0.69,
    N_c 1).
    """
    xyz, white = np.asarray(xyz, dtype=float), np.asarray(white, dtype=float)
    k = 1 / (5 * L_A + 1)
    F_L = 0.2 * k**4 * 5 * L_A + 0.1 * (1 - k**4) ** 2 * (5 * L_A) ** (1 / 3)
    n = Y_b / white[1]
    N_bb, z = 0.725 * (1 / n) ** 0.2, 1.48 + np.sqrt(n)
    D = 1 - np.exp((-L_A - 42) / 92) / 3.6
    gain = D * white[1] / (CAT02 @ white) + 1 - D

    def response(colour: Array) -> Array:
        rgb = HPE @ np.linalg.solve(CAT02, gain * (CAT02 @ colour))
        power = (F_L * np.abs(rgb) / 100) ** 0.42
        return 400 * np.sign(rgb) * power / (power + 27.13) + 0.1

    def achromatic(rgb: Array) -> float:
        return float((np.array([2, 1, 1 / 20]) @ rgb - 0.305) * N_bb)

    rgb = response(xyz)
    a, b = np.array([1, -12 / 11, 1 / 11]) @ rgb, np.array([1, 1, -2]) @ rgb / 9
    h = np.degrees(np.arctan2(b, a)) % 360
    eccentricity = (np.cos(np.radians(h) + 2) + 3.8) / 4
    t = 50000 / 13 * N_bb * eccentricity * np.hypot(a, b) / (np.array([1, 1, 21 / 20]) @ rgb)
    J = 100 * (achromatic(rgb) / achromatic(response(white))) ** (0.69 * z)
    M = t**0.9 * np.sqrt(J / 100) * (1.64 - 0.29**n) ** 0.73 * F_L**0.25
    return float(J), float(M), float(h)


def cam02_ucs(hex_colour: str, vision: str = "normal") -> Array:
    """(J', a', b') of a colour as it is seen with `vision`."""
    seen = np.clip(DEFICIENCIES[vision] @ linear_rgb(hex_colour), 0, 1)
    J, M, h = ciecam02(TO_XYZ @ seen, D65, L_A=64 / np.pi / 5)
    shrunk = np.log1p(0.0228 * M) / 0.0228
    return np.array(
        [1.7 * J / (1 + 0.007 * J), shrunk * np.cos(np.radians(h)), shrunk * np.sin(np.radians(h))]
    )


def distance(one: str, other: str, vision: str = "normal") -> float:
    """CAM02-UCS distance; about 1 is just noticeable side by side, below 10 is hard to tell
    apart.
    """
    return float(np.linalg.norm(cam02_ucs(one, vision) - cam02_ucs(other, vision)))


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio, 1 to 21."""
    light, dark = sorted(
        (float(TO_XYZ[1] @ linear_rgb(c)) / 100 + 0.05 for c in (one, other)), reverse=True
    )
    return light / dark
