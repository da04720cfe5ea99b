/// Follows a shell text from the left and knows, at any point, how a value put there must be quoted.
///
/// It reads quotes, comments, `$( )`, `$(( ))` and `${ }` as POSIX does. Where the rules part from shell to shell or
/// need a whole parser (back quotes, here-documents, `$'…'`, `case` within `$( )`), it says so instead of guessing.
struct ShellScanner {
  enum Place: Equatable {
    case word
    case inDoubleQuotes
    case inSingleQuotes
    /// Only a whole number can stand here.
    case arithmetic
    case comment
    /// No value can be put here safely.
    case unsafe(String)
  }

  private enum Frame: Equatable {
    case double
    case single
    case substitution(depth: Int)
    case arithmetic(depth: Int)
    case parameter
  }

  private var frames: [Frame] = []
  private var isEscaped = false
  private var isComment = false
  private var isWordStart = true
  /// The character before, unless it was quoted.
  private var previous: Unicode.Scalar?
  private var word = ""
  private var lastWord = ""
  /// The simple command so far names a shell or Python.
  private var interpreter = false
  private var lost: String?

  /// Where the next value would stand.
  var place: Place {
    if let lost { return .unsafe(lost) }
    if isComment { return .comment }
    if isEscaped { return .unsafe("right after a backslash") }
    switch frames.last {
    case nil, .substitution: return .word
    case .double: return .inDoubleQuotes
    case .single: return .inSingleQuotes
    case .arithmetic(let depth): return depth < 0 ? .unsafe("between the brackets of )) ") : .arithmetic
    case .parameter: return .unsafe("within ${ }")
    }
  }

  /// True within a quoted word that another interpreter reads again as code: after `sh -c`, `python3 -c`, `eval`.
  var isCode: Bool {
    guard frames.contains(.single) || frames.contains(.double) else { return false }
    return lastWord == "eval"
      || (interpreter && lastWord.hasPrefix("-") && !lastWord.hasPrefix("--") && lastWord.hasSuffix("c"))
  }

  /// A value was put here.
  mutating func passValue() {
    isWordStart = false
    previous = nil
    word += "?"
  }

  mutating func pass(_ text: String) {
    for scalar in text.unicodeScalars { pass(scalar) }
  }

  private mutating func pass(_ c: Unicode.Scalar) {
    guard lost == nil else { return }
    if isComment {
      if c == "\n" {
        isComment = false
        endWord()
      }
      return
    }
    if isEscaped {
      isEscaped = false
      previous = nil
      // A backslash at the end of a line joins the lines.
      if c != "\n" {
        isWordStart = false
        word.unicodeScalars.append(c)
      }
      return
    }
    defer { if !isEscaped { previous = c } }
    switch frames.last {
    case .single:
      if c == "'" { frames.removeLast() } else { word.unicodeScalars.append(c) }
    case .double: passQuoted(c)
    case .parameter: passParameter(c)
    case .arithmetic(let depth): passArithmetic(c, depth)
    case nil, .substitution: passPlain(c)
    }
  }

  private mutating func passQuoted(_ c: Unicode.Scalar) {
    switch c {
    case "\\": isEscaped = true
    case "\"": frames.removeLast()
    case "`": lost = "after back quotes; write $( ) instead"
    case "(" where previous == "$": openSubstitution()
    case "{" where previous == "$": frames.append(.parameter)
    default: word.unicodeScalars.append(c)
    }
  }

  private mutating func passParameter(_ c: Unicode.Scalar) {
    switch c {
    case "}": frames.removeLast()
    case "'", "\"", "\\", "`", "$": lost = "after ${ } with quotes or $ in it"
    default: break
    }
  }

  private mutating func passArithmetic(_ c: Unicode.Scalar, _ depth: Int) {
    let top = frames.count - 1
    switch c {
    case "(" where previous == "$": lost = "after $( ) within $(( ))"
    case "(": frames[top] = .arithmetic(depth: depth + 1)
    // The second of the two closing brackets must follow at once.
    case ")" where depth < 0: frames.removeLast()
    case ")": frames[top] = .arithmetic(depth: depth - 1)
    case _ where depth < 0: lost = "after $(( that does not end with ))"
    case "{" where previous == "$": frames.append(.parameter)
    case "'", "\"", "\\", "`": lost = "after $(( )) with quotes in it"
    default: break
    }
  }

  private mutating func passPlain(_ c: Unicode.Scalar) {
    if previous == "(", c == "(", case .substitution(depth: 0) = frames.last, isWordStart, isFreshSubstitution {
      frames[frames.count - 1] = .arithmetic(depth: 0)
      isFreshSubstitution = false
      return
    }
    isFreshSubstitution = false
    switch c {
    case " ", "\t", "\n", ";", "&", "|": endWord(at: c)
    case "#" where isWordStart: isComment = true
    case "\\":
      isEscaped = true
    case "'":
      if previous == "$" {
        lost = "after $'…', which shells read differently"
      } else {
        frames.append(.single)
        isWordStart = false
      }
    case "\"":
      frames.append(.double)
      isWordStart = false
    case "`": lost = "after back quotes; write $( ) instead"
    case "<" where previous == "<": lost = "after << (a here-document)"
    case "(" where previous == "$": openSubstitution()
    case "{" where previous == "$": frames.append(.parameter)
    case "(":
      if case .substitution(let depth) = frames.last { frames[frames.count - 1] = .substitution(depth: depth + 1) }
      endWord()
    case ")":
      checkCase()
      if case .substitution(let depth) = frames.last {
        if depth == 0 {
          frames.removeLast()
          isWordStart = false
          word = "?"
          return
        }
        frames[frames.count - 1] = .substitution(depth: depth - 1)
      }
      endWord()
    case "<", ">": endWord()
    default:
      isWordStart = false
      word.unicodeScalars.append(c)
    }
  }

  private var isFreshSubstitution = false

  private mutating func openSubstitution() {
    frames.append(.substitution(depth: 0))
    isFreshSubstitution = true
    word = ""
    isWordStart = true
  }

  private mutating func endWord(at separator: Unicode.Scalar = " ") {
    checkCase()
    if separator == "\n" || separator == ";" || separator == "&" || separator == "|" {
      lastWord = ""
      interpreter = false
    } else if !word.isEmpty {
      lastWord = word
      let program = word.split(separator: "/").last.map(String.init) ?? ""
      if ["sh", "bash", "dash", "zsh", "ksh"].contains(program) || program.hasPrefix("python") { interpreter = true }
    }
    word = ""
    isWordStart = true
  }

  private mutating func checkCase() {
    if word == "case", case .substitution = frames.last { lost = "after `case` within $( )" }
  }
}
