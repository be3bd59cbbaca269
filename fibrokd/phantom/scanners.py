"""Scanner presets: four invented abdominal machines with a convex array.

Owns acquisition and display constants; nothing here depends on the patient. Vendors are invented, the spread of the
parameters follows what abdominal presets look like (3–4 MHz, 45–60 mm radius, 140–165 mm depth, 48–66 dB).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SOUND_MM_PER_US = 1.54
"""Speed of sound in soft tissue, mm/µs: what every scanner assumes (ICRU Report 61, 1998)."""

ScannerName = Literal["sonova", "echolab", "mirasono", "handix"]


@dataclass(frozen=True)
class Scanner:
    """One machine with one preset.

    Args:
        name: Invented vendor.
        site: Hospital it stands in.
        frequency_mhz: Centre frequency of the pulse.
        bandwidth: Two-way fractional bandwidth at -6 dB.
        aperture_mm: Largest active aperture.
        focus_mm: Transmit focus, depth.
        radius_mm: Radius of curvature of the array.
        opening_deg: Full opening angle of the fan.
        depth_mm: Displayed depth.
        dynamic_range_db: Range of echo levels between black and white.
        gain_db: Overall gain of the preset.
        gamma: Exponent of the grey map.
        looks: Compounded looks; 1 is no compounding.
        smoothing_px: Speckle reduction on display, beam samples.
        sharpening: Weight of the edge enhancement.
        noise_db: Receiver noise relative to the liver echo at the skin.
        clutter_db: Near-field haze relative to the liver echo.
        assumed_attenuation: What the automatic time-gain compensation undoes, dB/cm/MHz.
        margins: Top, right, bottom, left margin around the fan, as shares of the screen.
        overlay: Style of the burned-in marks.
        background: Grey level outside the fan.
        exports_rgb: Writes single DICOM frames as RGB rather than MONOCHROME2.
        stores_png: Saves stills as PNG rather than JPEG, where the cohort follows each scanner's habit.
    """

    name: ScannerName
    site: str = "north"
    frequency_mhz: float = 3.5
    bandwidth: float = 0.60
    aperture_mm: float = 20.0
    focus_mm: float = 75.0
    radius_mm: float = 60.0
    opening_deg: float = 66.0
    depth_mm: float = 150.0
    dynamic_range_db: float = 60.0
    gain_db: float = 0.0
    gamma: float = 1.0
    looks: int = 1
    smoothing_px: float = 0.0
    sharpening: float = 0.0
    noise_db: float = -62.0
    clutter_db: float = -14.0
    assumed_attenuation: float = 0.52
    margins: tuple[float, float, float, float] = (0.03, 0.03, 0.03, 0.03)
    overlay: Literal["bar", "ticks", "plain", "numbers"] = "bar"
    background: int = 0
    exports_rgb: bool = False
    stores_png: bool = False

    @property
    def wavelength_mm(self) -> float:
        """Wavelength at the centre frequency, mm."""
        return SOUND_MM_PER_US / self.frequency_mhz


SCANNERS: MappingProxyType[str, Scanner] = MappingProxyType(
    {
        scanner.name: scanner
        for scanner in (
            Scanner(
                "sonova",
                looks=2,
                dynamic_range_db=62.0,
                margins=(0.07, 0.09, 0.04, 0.05),
                overlay="bar",
            ),
            Scanner(
                "echolab",
                frequency_mhz=4.0,
                bandwidth=0.75,
                radius_mm=50.0,
                opening_deg=72.0,
                depth_mm=140.0,
                looks=3,
                smoothing_px=0.45,
                dynamic_range_db=66.0,
                gain_db=2.0,
                gamma=0.92,
                margins=(0.10, 0.05, 0.07, 0.10),
                overlay="ticks",
                exports_rgb=True,
            ),
            Scanner(
                "mirasono",
                site="south",
                frequency_mhz=3.0,
                bandwidth=0.55,
                opening_deg=60.0,
                depth_mm=165.0,
                sharpening=0.5,
                dynamic_range_db=54.0,
                gain_db=-1.0,
                margins=(0.05, 0.02, 0.04, 0.02),
                overlay="plain",
                stores_png=True,
            ),
            Scanner(
                "handix",
                site="south",
                frequency_mhz=3.2,
                bandwidth=0.45,
                aperture_mm=15.0,
                radius_mm=45.0,
                opening_deg=58.0,
                depth_mm=145.0,
                dynamic_range_db=48.0,
                gain_db=1.0,
                noise_db=-52.0,
                clutter_db=-8.0,
                margins=(0.04, 0.13, 0.10, 0.04),
                overlay="numbers",
                background=6,
                exports_rgb=True,
            ),
        )
    }
)
"""Presets by name, in a fixed order."""
