//! What goes without saying in the schema table: read by the build, left out by the chore `gen` that writes the table.

/// The Go type that the table leaves out because it follows from ours.
pub fn natural(shape: &str) -> String {
    match shape {
        "float" => "float64".into(),
        "time" => "v1.Time".into(),
        "microtime" => "v1.MicroTime".into(),
        "duration" => "v1.Duration".into(),
        "quantity" => "resource.Quantity".into(),
        "intorstring" => "intstr.IntOrString".into(),
        "bytes" => "[]uint8".into(),
        _ => match (shape.strip_prefix("[]"), shape.strip_prefix("{}")) {
            (Some(element), _) => format!("[]{}", natural(element)),
            (_, Some(element)) => format!("map[string]{}", natural(element)),
            _ => {
                let parts: Vec<&str> = shape.rsplitn(3, '.').collect();
                match parts[..] {
                    [name, package, _] => format!("{package}.{name}"),
                    _ => shape.into(),
                }
            }
        },
    }
}
