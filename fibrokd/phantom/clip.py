"""One cine of one patient: built once, then any frame, mask or envelope of it.

Owns the order of the signal chain: tissue maps → scatterers → point spread → receive chain → compounding → display.
Scatterers live on a world wider than the field of view; probe motion is a shift of that world plus a slow rotation
between two scatterer fields (motion out of the plane), so frames of one clip share moving, slowly decorrelating
speckle, as a real cine does.

Shape letters: R samples and T lines of one frame, S side of the screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, UInt8
from scipy import ndimage

from fibrokd.phantom.anatomy import View, view_of
from fibrokd.phantom.beamforming import beamform
from fibrokd.phantom.display import grey_levels, make_receiver, scan_convert, scan_convert_mask
from fibrokd.phantom.geometry import LINES, MARGIN_LINES, MARGIN_SAMPLES, SAMPLES, screen
from fibrokd.phantom.lattice import F32
from fibrokd.phantom.overlay import draw_overlay
from fibrokd.phantom.patients import Patient, scanner_of
from fibrokd.phantom.randomness import Stream, keyed
from fibrokd.phantom.scanners import Scanner
from fibrokd.phantom.tissue import paint

_ELEVATION_PER_FRAME = 0.10
"""Rotation between the two scatterer fields per frame, radians: speckle decorrelates within about ten frames."""

_LOOK_ANGLE = 0.95
"""Rotation between two compounded looks, radians: partly correlated, as overlapping apertures are."""


@dataclass(frozen=True, eq=False)
class MaskedFrame:
    """A frame with what is known about its pixels.

    Args:
        image: Grey levels.
        fan: Pixels inside the insonation fan.
        liver: Pixels of liver parenchyma, vessels left out.
    """

    image: UInt8[np.ndarray, "S S"]
    fan: Bool[np.ndarray, "S S"]
    liver: Bool[np.ndarray, "S S"]


class Clip:
    """One cine; frames are independent of each other and of the order in which they are asked for.

    Args:
        patient: Whose liver.
        clip: Clip number within the patient; another clip is another plane.
        scanner: Another scanner than the patient's own, for the same patient elsewhere.
    """

    def __init__(self, patient: Patient, clip: int = 0, scanner: Scanner | None = None) -> None:
        self.patient, self.clip = patient, clip
        self.scanner = scanner or scanner_of(patient)
        self._maps = paint(patient, clip, self.scanner)
        random = keyed(patient.seed, patient.number, Stream.SCATTERERS, clip)
        normal = random.standard_normal((4, *self._maps.scatter.shape), dtype=F32)
        normal *= F32(math.sqrt(0.5))
        self._here = _complex(normal[0], normal[1])
        self._beside = _complex(normal[2], normal[3])
        # A mirror-like surface is granular at the scale of the beam.
        self._mirror = self._maps.mirror * (F32(0.55) + F32(0.45) * _complex(normal[1], normal[2]))
        handling = keyed(patient.seed, patient.number, Stream.HANDLING, clip)
        self._phase = tuple(float(phase) for phase in handling.uniform(0, 2 * math.pi, 3))
        self._drift = tuple(float(drift) for drift in handling.standard_normal(2))
        self.gain_db = patient.gain_db + patient.nuisance * float(handling.standard_normal())

    @property
    def view(self) -> View:
        """Plane of the clip."""
        return view_of(self.patient.seed, self.patient.number, self.clip)

    def frame(self, frame: int = 0, size: int = 256, overlay: bool = True) -> UInt8[np.ndarray, "S S"]:
        """Render one frame.

        Args:
            frame: Frame number, about 20 per second.
            size: Side of the square image, pixels.
            overlay: Burn in the scanner's text and rulers.
        """
        scanner, patient = self.scanner, self.patient
        random = keyed(patient.seed, patient.number, Stream.FRAME, self.clip, frame)
        part = self._part(frame)
        receiver = make_receiver(scanner, patient, random)
        gain = self._maps.transmission[part] * receiver.gain
        noise = receiver.noise
        power = np.zeros((SAMPLES, LINES), F32)
        for look in range(scanner.looks):
            echoes = beamform(self._scatterers(frame, look), scanner)
            echoes *= gain
            echoes += noise
            echoes += receiver.haze
            power += echoes.real * echoes.real
            power += echoes.imag * echoes.imag
            if look + 1 < scanner.looks:
                noise = np.roll(noise, 37, 1)
        power *= F32(1 / scanner.looks)
        unsteady = 0.25 * float(random.standard_normal())
        image = scan_convert(grey_levels(power, scanner, self.gain_db + unsteady), scanner, size)
        if overlay:
            draw_overlay(image, scanner, patient, self.clip)
        return image

    def frame_with_masks(self, frame: int = 0, size: int = 256, overlay: bool = True) -> MaskedFrame:
        """Render one frame together with its fan and liver masks, see :meth:`frame`."""
        liver = _repeat(self._maps.liver)[self._part(frame)]
        return MaskedFrame(
            image=self.frame(frame, size, overlay),
            fan=screen(self.scanner, size).fan.copy(),
            liver=scan_convert_mask(liver, self.scanner, size),
        )

    def envelope(self, frame: int = 0) -> tuple[Float32[np.ndarray, "R T"], Bool[np.ndarray, "R T"]]:
        """Linear envelope of one look before attenuation, receiver noise, compounding and compression.

        Returns:
            The envelope |IQ| in beam space, and where it is parenchyma further than the point spread reaches from any
            vessel, capsule or organ: the only places where speckle statistics mean something.
        """
        speckle = ndimage.binary_erosion(self._maps.speckle_only, iterations=4)
        echoes = beamform(self._scatterers(frame, 0), self.scanner)
        return np.abs(echoes), _repeat(speckle)[self._part(frame)]

    def _scatterers(self, frame: int, look: int) -> Complex64[np.ndarray, "R T"]:
        """Scatterers in the field of view of one frame, as one look sees them."""
        part = self._part(frame)
        turn = _ELEVATION_PER_FRAME * frame + 0.25 * math.sin(0.55 * frame + self._phase[2])
        turn += (look - (self.scanner.looks - 1) / 2) * _LOOK_ANGLE
        field = F32(math.cos(turn)) * self._here[part]
        field += F32(math.sin(turn)) * self._beside[part]
        field *= self._maps.scatter[part]
        field += self._mirror[part]
        return field

    def _part(self, frame: int) -> tuple[slice, slice]:
        """Part of the world in the field of view: breathing and rocking, plus a slow drift."""
        press = MARGIN_SAMPLES + 7 * math.sin(0.55 * frame + self._phase[0]) + 0.2 * self._drift[0] * frame
        rock = MARGIN_LINES + 5 * math.sin(0.33 * frame + self._phase[1]) + 0.175 * self._drift[1] * frame
        first = min(max(round(press), 0), 2 * MARGIN_SAMPLES)
        line = min(max(round(rock), 0), 2 * MARGIN_LINES)
        return slice(first, first + SAMPLES), slice(line, line + LINES)


def _complex(real: Float32[np.ndarray, "R T"], imaginary: Float32[np.ndarray, "R T"]) -> Complex64[np.ndarray, "R T"]:
    field = np.empty(real.shape, np.complex64)
    field.real, field.imag = real, imaginary
    return field


def _repeat(painted: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "2*h 2*w"]:
    """Bring a painted mask to the resolution of the world."""
    return painted.repeat(2, axis=0).repeat(2, axis=1)
