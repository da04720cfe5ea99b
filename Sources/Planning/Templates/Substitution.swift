import OrderedCollections

/// Replaces `${{ }}` in the sections of one cell. Axis values are put in; what is known only at launch becomes a
/// placeholder.
struct Substitution {
  enum Mode {
    /// `run.command`: quoted for the shell.
    case shell
    /// `run.env`: as it is, booleans as 1 and 0.
    case environment
    /// Elsewhere: a value that is nothing but `${{ axis }}` keeps its type.
    case typed
  }

  let file: YAMLFile
  let values: OrderedDictionary<String, AxisValue>

  func run(_ value: YAMLValue, _ reading: inout Reading) -> YAMLValue {
    map(value) { entry in
      switch entry.key {
      case "command": apply(entry.value, .shell, &reading)
      case "env": apply(entry.value, .environment, &reading)
      default: apply(entry.value, .typed, &reading)
      }
    }
  }

  func dumps(_ value: YAMLValue, _ reading: inout Reading) -> YAMLValue { apply(value, .typed, &reading) }

  private func map(_ value: YAMLValue, _ change: (YAMLEntry) -> YAMLValue) -> YAMLValue {
    guard case .map(let entries) = value.content else { return value }
    var result = value
    result.content = .map(
      entries.map { YAMLEntry(key: $0.key, keyPlace: $0.keyPlace, value: change($0)) })
    return result
  }

  private func apply(_ value: YAMLValue, _ mode: Mode, _ reading: inout Reading) -> YAMLValue {
    var result = value
    switch value.content {
    case .map: return map(value) { entry in reading.within(entry.key) { apply(entry.value, mode, &$0) } }
    case .list(let values): result.content = .list(values.map { apply($0, mode, &reading) })
    case .scalar(let scalar):
      guard scalar.text.contains("${{") else { return value }
      // What is malformed has been reported by `TemplateNames`.
      guard let template = try? Template(scalar.text) else { return value }
      switch mode {
      case .shell: result.content = .scalar(shell(template, value.place, &reading))
      case .environment:
        result.content = .scalar(plain(template, value.place, &reading) { $0.environmentText })
      case .typed:
        if template.pieces.count == 1, case .name(let name, _) = template.pieces[0], let axis = values[name] {
          let isText = if case .string = axis { true } else { false }
          result.content = .scalar(YAMLScalar(text: axis.description, isPlain: !isText))
        } else {
          result.content = .scalar(plain(template, value.place, &reading) { $0.description })
        }
      }
    }
    return result
  }

  private func plain(
    _ template: Template, _ place: Place, _ reading: inout Reading, _ text: (AxisValue) -> String
  ) -> YAMLScalar {
    var out = ""
    for piece in template.pieces {
      switch piece {
      case .text(let text): out += text
      case .name(let name, let ordinal):
        if let value = values[name] {
          out += text(value)
        } else if let runtime = RuntimeName(rawValue: name) {
          out += Placeholder.text(runtime, .raw)
        } else {
          reportMissing(name, ordinal, place, &reading)
        }
      }
    }
    return YAMLScalar(text: out, isPlain: false)
  }

  private func shell(_ template: Template, _ place: Place, _ reading: inout Reading) -> YAMLScalar {
    var out = ""
    var scanner = ShellScanner()
    for (index, piece) in template.pieces.enumerated() {
      switch piece {
      case .text(let text):
        scanner.pass(text)
        out += text
      case .name(let name, let ordinal):
        if scanner.place == .comment {
          out += "${{ \(name) }}"
          continue
        }
        let value = values[name]?.description
        let runtime = RuntimeName(rawValue: name)
        guard value != nil || runtime != nil else {
          reportMissing(name, ordinal, place, &reading)
          continue
        }
        let next = template.pieces.indices.contains(index + 1) ? template.pieces[index + 1] : .text(" ")
        switch quoting(scanner, next: next, value: value, runtime: runtime) {
        case .success(let quoting):
          if let value { out += quoting(value) } else if let runtime { out += Placeholder.text(runtime, quoting) }
        case .failure(let refusal):
          let variable = EnvironmentName.of(axis: name)
          reading.report(
            file.placeOfTemplate(ordinal, from: place),
            "${{ \(name) }} cannot be put here safely: \(refusal.reason); use the environment variable "
              + (value == nil ? "from `run.env` that you give this value" : "$\(variable)") + " instead")
        }
        scanner.passValue()
      }
    }
    return YAMLScalar(text: out, isPlain: false)
  }

  private struct Refusal: Error {
    var reason: String
  }

  private func quoting(
    _ scanner: ShellScanner, next: Template.Piece, value: String?, runtime: RuntimeName?
  ) -> Result<Placeholder.Quoting, Refusal> {
    if scanner.isCode, let value, !ShellQuoting.isPlain(value) {
      return .failure(Refusal(reason: "the value \(value.shortened) would be read again as code"))
    }
    switch scanner.place {
    case .inDoubleQuotes: return .success(.inDoubleQuotes)
    case .inSingleQuotes: return .success(.inSingleQuotes)
    case .word:
      // Bare digits before < or > would name a file descriptor.
      let follows: Bool =
        switch next {
        case .text(let text): text.unicodeScalars.first == "<" || text.unicodeScalars.first == ">"
        case .name: true
        }
      return .success(follows ? .quotedWord : .word)
    case .arithmetic:
      let isNumber = value.map { Int($0) != nil } ?? (runtime == .attempt || runtime == .repetition)
      return isNumber ? .success(.word) : .failure(Refusal(reason: "$(( )) takes whole numbers only"))
    case .unsafe(let reason): return .failure(Refusal(reason: "it stands " + reason))
    case .comment: return .success(.raw)
    }
  }

  private func reportMissing(_ name: String, _ ordinal: Int, _ place: Place, _ reading: inout Reading) {
    reading.report(
      file.placeOfTemplate(ordinal, from: place),
      "${{ \(name) }} has no value in the cell \(Cell.label(values))")
  }
}

/// Checks the names in all `${{ }}` of a section, also of those parts that no cell uses.
struct TemplateNames {
  let file: YAMLFile
  /// Axes and added keys.
  let known: [String]

  func check(run value: YAMLValue, _ reading: inout Reading) {
    guard case .map(let entries) = value.content else { return }
    for entry in entries {
      reading.within(entry.key) {
        check(entry.value, atLaunch: entry.key == "command" || entry.key == "env", &$0)
      }
    }
  }

  func check(dumps value: YAMLValue, _ reading: inout Reading) { check(value, atLaunch: false, &reading) }

  private func check(_ value: YAMLValue, atLaunch: Bool, _ reading: inout Reading) {
    switch value.content {
    case .map(let entries):
      for entry in entries { reading.within(entry.key) { check(entry.value, atLaunch: atLaunch, &$0) } }
    case .list(let values):
      for (index, value) in values.enumerated() {
        reading.within("[\(index)]") { check(value, atLaunch: atLaunch, &$0) }
      }
    case .scalar(let scalar):
      guard scalar.text.contains("${{") else { return }
      do throws(Template.Malformed) {
        for case .name(let name, let ordinal) in try Template(scalar.text).pieces {
          check(name, file.placeOfTemplate(ordinal, from: value.place), atLaunch: atLaunch, &reading)
        }
      } catch {
        reading.report(file.placeOfTemplate(error.ordinal, from: value.place), error.message)
      }
    }
  }

  private func check(_ name: String, _ place: Place, atLaunch: Bool, _ reading: inout Reading) {
    let runtime = RuntimeName.allCases.map(\.rawValue)
    if known.contains(name) || (atLaunch && runtime.contains(name)) { return }
    if runtime.contains(name) {
      reading.report(place, "${{ \(name) }} is known only at launch: it can stand in `command` and `env`")
      return
    }
    let bare = name.split(separator: ".").last.map(String.init) ?? name
    let candidates = known + (atLaunch ? runtime : [])
    reading.report(
      place, "unknown name `\(name.shortened)` in ${{ }}: known are \(candidates.joined(separator: ", "))",
      suggestion: candidates.contains(bare) ? bare : Spelling.nearest(to: name, in: candidates))
  }
}
