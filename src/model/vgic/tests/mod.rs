//! Properties of the virtual GIC.
