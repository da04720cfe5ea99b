/// The JSON Schema of job files, for editors: made from the tables that also decode them.
public enum JobFileSchema {
  /// JSON Schema, draft 2020-12.
  public static func json() -> String {
    guard case .object(let members) = JobKeys.shape.schema(SchemaContext()) else { return "{}" }
    let head: [(key: String, value: JSONText)] = [
      ("$schema", .string("https://json-schema.org/draft/2020-12/schema")),
      ("title", .string("Rollcall job file")),
    ]
    return JSONText.object(head + members).text(indent: 2)
  }
}
