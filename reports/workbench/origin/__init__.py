"""The notebook that the project grew from: its figures reproduced, corrected, and why."""
