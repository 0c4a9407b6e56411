//! Endpoints that do storage work, the commands they take, and which one to ask
