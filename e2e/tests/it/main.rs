//! Stories about the real server, told through processes of others.

mod imports;
