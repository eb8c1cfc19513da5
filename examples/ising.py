"""No circuit at all: magnetization of the two-dimensional Ising model by Monte Carlo, through its phase transition.

Metropolis steps on a checkerboard, all sites of one colour at once; the critical temperature is 2 / ln(1 + sqrt(2)) = 2.269 (Onsager, 1944).
"""

import numpy as np

import procjob

SIZE, STEPS = 16, 600


def magnetization(temperature, run, rng):
    """Return the mean absolute magnetization of a site; `rng` belongs to the point, in whichever worker it runs."""
    spins = np.ones((SIZE, SIZE))
    black = np.indices((SIZE, SIZE)).sum(axis=0) % 2 == 0
    total = 0.0
    for step in range(STEPS):
        for colour in (black, ~black):
            neighbours = sum(np.roll(spins, shift, axis) for shift in (1, -1) for axis in (0, 1))
            accepted = rng.random((SIZE, SIZE)) < np.exp(-2 * spins * neighbours / temperature)
            spins[colour & accepted] *= -1
        if step >= STEPS // 3:
            total += abs(spins.mean())
    return total / (STEPS - STEPS // 3)


points = procjob.grid(temperature=np.linspace(1.6, 3.2, 9), run=range(4))
result = procjob.sweep(magnetization, points, seed=11, workers=2, progress=False)

mean = result["magnetization"].mean(axis=1)
for temperature, value in zip(result["temperature"][:, 0], mean, strict=True):
    print(f"T = {temperature:.1f}  |m| = {value:.3f}  " + "#" * round(40 * value))
result.plot("temperature", "magnetization").figure.savefig("ising.png")
