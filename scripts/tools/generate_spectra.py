"""Writes ``ctmar/physics/tungsten.csv``: tube spectra computed once with SpekPy.

SpekPy (Poludniowski et al., Med. Phys. 48:3630, 2021; MIT licence) is about 200 MB and no
dependency of ctmar: ``pip install spekpy`` somewhere else and run this there.
"""

import argparse
from pathlib import Path

POTENTIALS_KV = range(70, 151, 10)
ANODE_ANGLE_DEG = 8.0
ALUMINIUM_MM = 3.0


def main() -> None:
    """Photons a 1 keV bin, normalised to a sum of 1 for each tube potential, and how many there are."""
    import spekpy

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    columns, output_per_mas = {}, {}
    for kvp in POTENTIALS_KV:
        spectrum = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=1.0, targ="W", physics="kqp", z=100, mas=1)
        spectrum.filter("Al", ALUMINIUM_MM)
        energies, fluence = spectrum.get_spectrum()
        columns[kvp] = dict(zip(energies.round(1), fluence / fluence.sum(), strict=True))
        output_per_mas[kvp] = fluence.sum() / 100.0  # photons per cm² to per mm²
    energies = [k + 0.5 for k in range(10, max(POTENTIALS_KV))]
    with output.open("w", encoding="utf-8") as file:
        file.write(
            f"# Tungsten anode, {ANODE_ANGLE_DEG} degrees, {ALUMINIUM_MM} mm Al;"
            " photons a 1 keV bin, sum 1.\n"
            "# per_mas: photons per mm2 and mAs at 1 m from the focal spot, no air between.\n"
            f"# SpekPy {spekpy.__version__}, physics=kqp; scripts/tools/generate_spectra.py\n"
        )
        file.write("energy_kev," + ",".join(f"kvp_{kvp}" for kvp in POTENTIALS_KV) + "\n")
        file.write("per_mas," + ",".join(f"{output_per_mas[kvp]:.6e}" for kvp in POTENTIALS_KV) + "\n")
        for energy in energies:
            values = (f"{columns[kvp].get(energy, 0.0):.6e}" for kvp in POTENTIALS_KV)
            file.write(f"{energy}," + ",".join(values) + "\n")


if __name__ == "__main__":
    main()
