mod config;
mod known_hosts;
