//! The supervisor.
/// Its socket, below the root.
pub const SOCKET: &str = "supervisor.sock";
/// Becomes the supervisor.
pub fn main(args: &[String]) -> i32 {
    i32::from(args.is_empty())
}
