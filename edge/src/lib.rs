//! What every HTTP role shares: problem+json, token check, ownership, limits, health.
