//! The pod init.
/// Becomes the pod init.
pub fn main(args: &[String]) -> i32 {
    i32::from(args.is_empty())
}
