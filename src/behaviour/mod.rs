//! Layer 3: behaviour. What happens to a guest that exits: dispatch, hypercalls, system registers, life cycle.
