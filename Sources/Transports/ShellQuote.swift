/// Quotes a text so that a POSIX shell reads it as one word.
///
/// Every byte but NUL is safe inside; NUL cannot stand in a command at all.
public func shellQuote(_ text: String) -> String {
  var quoted = "'"
  for scalar in text.unicodeScalars {
    if scalar == "'" {
      quoted += "'\\''"
    } else {
      quoted.unicodeScalars.append(scalar)
    }
  }
  return quoted + "'"
}
