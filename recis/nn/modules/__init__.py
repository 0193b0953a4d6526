"""The parts behind `recis.nn`: tables, their index, rows and gradients, and the rules of admission and filtering."""
