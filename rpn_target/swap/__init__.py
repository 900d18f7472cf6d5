"""The swap: this package's classes in the places where GluonCV keeps its own."""
