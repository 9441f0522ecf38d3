//! The command line. Only this module and `report` print.

pub mod exit;
