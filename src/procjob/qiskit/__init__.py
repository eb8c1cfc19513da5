"""Qiskit's circuits for procjob: conversion to the built-in simulator's `procjob.simulators.circuit.Circuit`."""

from procjob.qiskit.convert import from_qasm2, from_qasm3, from_qiskit

__all__ = ["from_qasm2", "from_qasm3", "from_qiskit"]
