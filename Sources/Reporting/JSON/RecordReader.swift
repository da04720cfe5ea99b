import Foundation

/// A stored document that names its schema.
protocol SchemaRecord: Decodable {
  var schema: String { get }
}

/// Reads a stored document, and turns what Foundation says of a bad one into a place and a remedy.
enum RecordReader {
  private struct Header: Decodable {
    var schema: String?
  }

  static func read<Record: SchemaRecord>(_ text: String, schema: String) throws(ReportError) -> Record {
    let data = Data(text.utf8)
    let header: Header = try decode(data)
    guard let found = header.schema else {
      throw ReportError(
        code: .wrongSchema, place: "schema", message: "no schema is named; a \(schema) document is needed")
    }
    guard found == schema else {
      throw ReportError(
        code: .wrongSchema, place: "schema",
        message: "the document is \(quoted(found)), and \(schema) is needed; name another file, or use the version "
          + "of rollcall that wrote it")
    }
    return try decode(data)
  }

  private static func decode<Value: Decodable>(_ data: Data) throws(ReportError) -> Value {
    do {
      return try JSONDecoder().decode(Value.self, from: data)
    } catch let error as DecodingError {
      throw translate(error)
    } catch {
      throw ReportError(code: .notJSON, place: "", message: "the document cannot be read: \(error)")
    }
  }

  private static func translate(_ error: DecodingError) -> ReportError {
    switch error {
    case .keyNotFound(let key, let context):
      ReportError(
        code: .missingKey, place: path(context.codingPath + [key]),
        message: "the key is missing; the record is incomplete, so write it again from the store")
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      ReportError(code: .wrongType, place: path(context.codingPath), message: context.debugDescription)
    case .dataCorrupted(let context) where context.codingPath.isEmpty:
      ReportError(
        code: .notJSON, place: "",
        message: "the document is not JSON, or was cut short: \(detail(context)); write it again from the store")
    case .dataCorrupted(let context):
      ReportError(code: .wrongValue, place: path(context.codingPath), message: context.debugDescription)
    @unknown default:
      ReportError(code: .notJSON, place: "", message: "the document cannot be read: \(error)")
    }
  }

  private static func detail(_ context: DecodingError.Context) -> String {
    if let error = context.underlyingError as? NSError, let why = error.userInfo["NSDebugDescription"] as? String {
      return why
    }
    return context.debugDescription
  }

  private static func path(_ keys: [any CodingKey]) -> String {
    var text = ""
    for key in keys {
      if let index = key.intValue {
        text += "[\(index)]"
      } else {
        text += text.isEmpty ? key.stringValue : ".\(key.stringValue)"
      }
    }
    return text
  }

  private static func quoted(_ text: String) -> String { "\"\(text.prefix(60))\"" }
}
