//! Settings of the process manager Angelize, and its actions.
