"""Checkpoint compatibility testing: does today's model code still load the checkpoints you have?"""
