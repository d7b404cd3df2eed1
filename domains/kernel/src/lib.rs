//! What every bounded context shares: money, ids, sealed values, the decide/evolve contract and its test kit.
