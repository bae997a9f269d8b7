"""Compiler, integer model, packages and golden vectors."""
