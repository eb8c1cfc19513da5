"""A simple description of noise: what follows which gate, and how readout errs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from procjob.simulators.expressions import checked_number
from procjob.simulators.gates import GATES
from procjob.simulators.operations import Operation

#: Qubits of the largest gate that depolarizing noise can follow.
MOST_QUBITS = 6


@dataclass(frozen=True, slots=True)
class PauliChannel:
    """Apply a Pauli string at random.

    Attributes:
        qubits: the last letter of a string belongs to the first of them.
        strings: such as "XI".
        probabilities: of the strings; what is missing to 1 is the identity.
    """

    qubits: tuple[int, ...]
    strings: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AmplitudeDamping:
    """Decay of |1> to |0> with probability gamma: K0 = diag(1, sqrt(1 - gamma)), K1 = sqrt(gamma) |0><1|."""

    qubit: int
    gamma: float


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    gates: frozenset[str] | None
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Noise after gates and at readout. Every method returns a new model with one rule more.

    Gates are named by their base, with one "c" for each control: "cx", "ccx", "rz", "unitary"; None means every gate.

    Example:
        >>> noise = NoiseModel().depolarizing(0.01, gates=["cx"]).readout(0.02, 0.05)
        >>> noise.readout_error
        (0.02, 0.05)
    """

    rules: tuple[_Rule, ...] = ()
    readout_error: tuple[float, float] | None = None

    def depolarizing(self, probability: float, *, gates: Iterable[str] | None = None) -> NoiseModel:
        """With this probability replace the state of the gate's qubits by the maximally mixed one.

        On m qubits each of the 4**m - 1 Pauli strings has probability / 4**m, as in Aer's ``depolarizing_error``.

        Raises:
            TypeError: the probability is not a real number, or ``gates`` is no list of names.
            ValueError: the probability is not between 0 and 1, or there is no gate of a name. To compile a circuit raises it too, if
                the noise follows a gate of more than `MOST_QUBITS` qubits.
        """
        return self._with("depolarizing", gates, {"p": _probability(probability)})

    def pauli(self, probabilities: Mapping[str, float], *, gates: Iterable[str] | None = None) -> NoiseModel:
        """Apply X, Y or Z with these probabilities, to each qubit of the gate on its own.

        Raises:
            TypeError: there is no mapping, a probability is not a real number, or ``gates`` is no list of names.
            ValueError: a key is not X, Y or Z, the probabilities are not between 0 and 1, alone and in sum, or there is no gate of a
                name.
        """
        if not isinstance(probabilities, Mapping):
            raise TypeError(f"pauli takes a mapping such as {{'X': 0.01}}, not {probabilities!r}")
        if unknown := probabilities.keys() - set("XYZ"):
            raise ValueError(f"pauli takes probabilities of X, Y and Z, not of {min(unknown, key=str)!r}")
        checked = {pauli: _probability(value) for pauli, value in probabilities.items()}
        _probability(sum(checked.values()))
        return self._with("pauli", gates, checked)

    def amplitude_damping(self, gamma: float, *, gates: Iterable[str] | None = None) -> NoiseModel:
        """Let |1> decay to |0> with probability gamma, on each qubit of the gate.

        Raises:
            TypeError: gamma is not a real number, or ``gates`` is no list of names.
            ValueError: gamma is not between 0 and 1, or there is no gate of a name.
        """
        return self._with("amplitude_damping", gates, {"gamma": _probability(gamma)})

    def readout(self, one_for_zero: float, zero_for_one: float) -> NoiseModel:
        """Read 1 where the qubit is 0, and 0 where it is 1, with these probabilities.

        Raises:
            TypeError: one is not a real number.
            ValueError: one is not between 0 and 1.
        """
        return replace(self, readout_error=(_probability(one_for_zero), _probability(zero_for_one)))

    def after(self, operation: Operation) -> Iterator[PauliChannel | AmplitudeDamping]:
        """The channels that follow a gate."""
        name = operation.full_name
        for rule in self.rules:
            if operation.qubits and (rule.gates is None or name in rule.gates):
                yield from _channels(rule, operation.qubits)

    def _with(self, kind: str, gates: Iterable[str] | None, values: Mapping[str, float]) -> NoiseModel:
        if isinstance(gates, str) or not isinstance(gates, Iterable | None):
            raise TypeError(f"gates must be a list of names such as ['cx'], not {gates!r}")
        names = None if gates is None else tuple(gates)
        for name in names or ():
            if not _is_name(name):
                raise ValueError(f"there is no gate {name!r}; names are such as 'x', 'cx', 'ccx', 'rz' or 'unitary'")
        rule = _Rule(kind, None if names is None else frozenset(names), tuple(values.items()))
        return replace(self, rules=(*self.rules, rule))


def _channels(rule: _Rule, qubits: tuple[int, ...]) -> Iterator[PauliChannel | AmplitudeDamping]:
    values = dict(rule.values)
    if rule.kind == "amplitude_damping":
        yield from (AmplitudeDamping(qubit, values["gamma"]) for qubit in qubits)
    elif rule.kind == "pauli":
        for qubit in qubits:
            yield PauliChannel((qubit,), tuple(values), tuple(values.values()))
    else:
        if len(qubits) > MOST_QUBITS:
            raise ValueError(
                f"depolarizing noise on a gate of {len(qubits)} qubits has 4**{len(qubits)} Pauli strings; at most {MOST_QUBITS} "
                "qubits are possible: name the gates that it follows by gates=[...], or decompose the large one"
            )
        strings = ["".join(letters) for letters in itertools.product("IXYZ", repeat=len(qubits))][1:]
        yield PauliChannel(qubits, tuple(strings), (values["p"] / 4 ** len(qubits),) * len(strings))


def _is_name(name: object) -> bool:
    """Whether a gate can have this name: that of a base, with any number of c before it."""
    if not isinstance(name, str):
        return False
    bases = [name[at:] for at in range(len(name)) if not name[:at].strip("c")]
    return any(base in GATES or base == "unitary" for base in bases)


def _probability(value: float) -> float:
    number = checked_number(value, "a probability")
    if not 0 <= number <= 1:
        raise ValueError(f"a probability must be between 0 and 1, not {number}")
    return number
