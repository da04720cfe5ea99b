import OrderedCollections

/// How a name that is known only at launch stands in a plan's texts: U+0001, one letter for the quoting that its
/// place needs, the name, U+0002. No job file can hold these characters, so no value can pose as a placeholder.
enum Placeholder {
  enum Quoting: Character {
    /// As it is.
    case raw = "r"
    /// A word of the shell, bare if it can be.
    case word = "w"
    /// A word of the shell, always quoted.
    case quotedWord = "q"
    case inDoubleQuotes = "d"
    case inSingleQuotes = "s"

    func callAsFunction(_ text: String) -> String {
      switch self {
      case .raw: text
      case .word: ShellQuoting.word(text)
      case .quotedWord: ShellQuoting.quoted(text)
      case .inDoubleQuotes: ShellQuoting.inDoubleQuotes(text)
      case .inSingleQuotes: ShellQuoting.inSingleQuotes(text)
      }
    }
  }

  static func text(_ name: RuntimeName, _ quoting: Quoting) -> String {
    "\u{1}\(quoting.rawValue)\(name.rawValue)\u{2}"
  }

  /// Replaces every placeholder by what `value` gives for its name and quoting.
  static func replace(in text: String, with value: (String, Quoting) -> String) -> String {
    guard text.contains("\u{1}") else { return text }
    var out = ""
    var rest = text[...]
    while let start = rest.firstIndex(of: "\u{1}"), let end = rest[start...].firstIndex(of: "\u{2}") {
      out += rest[..<start]
      let inner = rest[rest.index(after: start)..<end]
      if let letter = inner.first, let quoting = Quoting(rawValue: letter) {
        out += value(String(inner.dropFirst()), quoting)
      }
      rest = rest[rest.index(after: end)...]
    }
    return out + rest
  }
}

extension RunSpec {
  /// The spec with the names that are known only at launch replaced, quoted as their places need it.
  ///
  /// A name that `runtime` lacks stays as `${{ name }}`, on which a shell stops with an error.
  public func resolved(_ runtime: [String: String]) -> RunSpec {
    var spec = self
    spec.command = Self.resolve(command, runtime)
    spec.env = env.mapValues { Self.resolve($0, runtime) }
    return spec
  }

  /// The same with `RuntimeName`s as keys.
  public func resolved(_ runtime: [RuntimeName: String]) -> RunSpec {
    resolved(Dictionary(uniqueKeysWithValues: runtime.map { ($0.key.rawValue, $0.value) }))
  }

  /// For people: names that are known only at launch stand as `${{ name }}`, and values of `env` that are secrets by
  /// their names as `***`.
  public var displayed: RunSpec {
    var spec = resolved([String: String]())
    for (name, value) in env where !value.isEmpty && EnvironmentName.isSecret(name) { spec.env[name] = "***" }
    return spec
  }

  private static func resolve(_ text: String, _ runtime: [String: String]) -> String {
    Placeholder.replace(in: text) { name, quoting in runtime[name].map { quoting($0) } ?? "${{ \(name) }}" }
  }
}

extension Cell {
  /// The cell's run with the names that are known only at launch replaced.
  public func resolved(_ runtime: [String: String]) -> RunSpec { run.resolved(runtime) }
}
