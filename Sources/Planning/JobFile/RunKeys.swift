import OrderedCollections

/// The keys of `run`.
struct RunKeys: KeyTable {
  let title = "run"
  let command = Key(
    "command", .text, required: true,
    "Text for /bin/sh -c. ${{ name }} is replaced by the value, quoted for the shell; booleans are true and false.")
  let env = Key(
    "env", .dictionary(of: .axisValue, keyPattern: EnvironmentName.pattern, checkKey: EnvironmentName.check),
    "Environment variables. Booleans become 1 and 0. ROLLCALL_ and names after it belong to Rollcall.")
  let files = Key(
    "files", .list(of: .text),
    "Files, relative to the job file, that are shipped into files/ of the run directory under their last component.")
  let gpus = Key("gpus", .integer(0...4_096), "GPUs of one run, taken all or none; 0 (default) is CPU only.")
  let nodes = Key("nodes", .integer(1...1_024), "Hosts of one run; default 1.")
  let hosts = Key(
    "hosts", .dictionary(of: .axisValue), "Labels that a host must have, every one with this value.")
  let timeout = Key("timeout", .duration, "Longest time of one run; default 1h.")
  let stallTimeout = Key(
    "stall_timeout", .duration, "Longest time without output and without new dump bytes; default no limit.")
  let retries = Key("retries", .integer(0...100), "Further attempts after failures of hosts; default 1.")

  var keys: [AnyKey] {
    [
      command.erased, env.erased, files.erased, gpus.erased, nodes.erased, hosts.erased, timeout.erased,
      stallTimeout.erased, retries.erased,
    ]
  }

  static var shape: Shape<RunSpec> {
    .object(RunKeys()) { fields, keys, reading in
      // Every key is read before any is missed, so that all problems are reported.
      let command = fields(keys.command, &reading)
      let env = fields(keys.env, &reading) ?? [:]
      let files = fields(keys.files, &reading) ?? []
      let gpus = fields(keys.gpus, &reading) ?? 0
      let nodes = fields(keys.nodes, &reading) ?? 1
      let hosts = fields(keys.hosts, &reading) ?? [:]
      let timeout = fields(keys.timeout, &reading) ?? 3_600
      let stallTimeout = fields(keys.stallTimeout, &reading)
      let retries = fields(keys.retries, &reading) ?? 1
      guard let command else { return nil }
      return RunSpec(
        command: command, env: env.mapValues(\.environmentText), files: files, gpus: gpus, nodes: nodes,
        hosts: hosts.mapValues(\.description), timeout: timeout, stallTimeout: stallTimeout, retries: retries)
    }
  }
}

extension RunSpec {
  /// Bytes of a command or of a variable's value that a launch takes: a process takes 131072 (MAX_ARG_STRLEN), and what is
  /// known only at launch may be longer than its name.
  public static let longestText = 96 << 10
  /// Bytes of the command and all values of one run. A process takes 2 MiB, and there are its host's and its user's, too.
  static let longestTexts = 1 << 20
  /// Bytes of all values that a host adds.
  static let longestHostTexts = 512 << 10

  /// Reports what no process could be started with.
  /// - Parameter value: What it was read from.
  func checkSizes(in value: YAMLValue, _ reading: inout Reading) {
    if let text = value["command"] {
      reading.within("command") { $0.checkSize(of: command, "`command`", text.place) }
    }
    let place = value["env"]?.place ?? value.place
    reading.within("env") { reading in
      if case .map(let entries) = value["env"]?.content {
        for entry in entries {
          reading.within(entry.key) { $0.checkSize(of: env[entry.key] ?? "", "`\(entry.key)`", entry.value.place) }
        }
      }
      let all = [command] + env.values
      reading.checkSize(of: all, limit: Self.longestTexts, "the command and all values of `env`, axes included,", place)
    }
  }
}

extension Reading {
  /// - Parameter what: Names the text in the sentence.
  mutating func checkSize(of text: String, _ what: String, _ place: Place) {
    let count = text.utf8.count
    guard count > RunSpec.longestText else { return }
    report(
      place,
      "\(what) has \(count) bytes; at most \(RunSpec.longestText) can be handed to a process: put it into a file")
  }

  /// The same of many together.
  mutating func checkSize(of texts: some Sequence<String>, limit: Int, _ what: String, _ place: Place) {
    let count = texts.reduce(0) { $0 + $1.utf8.count }
    guard count > limit else { return }
    report(place, "\(what) have \(count) bytes together; at most \(limit) can be handed to a process: use a file")
  }
}

extension Shape where Value == AxisValue {
  /// What becomes the value of an environment variable as it stands.
  static var variable: Shape {
    axisValue.map { value, place, reading in
      reading.checkSize(of: value.environmentText, "the value", place)
      return value
    }
  }
}

/// What may name an environment variable.
enum EnvironmentName {
  static let pattern = "^[A-Za-z_][A-Za-z0-9_]*$"
  static let prefix = "ROLLCALL_"

  /// What a variable's name tells of its value: `HF_TOKEN`, `awsSecretKey`, `PGPASSWORD`. (`TOKENIZERS_PARALLELISM` and
  /// `MAX_TOKENS` are none.)
  static func isSecret(_ name: String) -> Bool {
    let name = name.uppercased()
    let endings = [
      "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "ACCESSKEY", "SECRETKEY", "CREDENTIAL",
    ]
    let words: Set<Substring> = [
      "KEY", "PASS", "AUTH", "AUTHORIZATION", "COOKIE", "SECRETS", "PASSWORDS", "CREDENTIALS", "KEYS",
    ]
    return name.split(separator: "_").contains { word in words.contains(word) || endings.contains { word.hasSuffix($0) }
    }
  }

  static func isValid(_ name: String) -> Bool {
    guard let first = name.unicodeScalars.first, first == "_" || isLetter(first) else { return false }
    return name.unicodeScalars.allSatisfy { isLetter($0) || $0 == "_" || ("0"..."9").contains($0) }
  }

  /// `world-size` gives `ROLLCALL_WORLD_SIZE`.
  static func of(axis: String) -> String {
    prefix
      + String(
        String.UnicodeScalarView(
          axis.unicodeScalars.map { isLetter($0) || ("0"..."9").contains($0) ? $0 : "_" })
      ).uppercased()
  }

  static func check(_ name: String, _ place: Place, _ reading: inout Reading) {
    checkSyntax(name, place, &reading)
    if isValid(name), name.uppercased().hasPrefix(prefix) {
      reading.report(place, "`\(name)`: names that begin with \(prefix) are set by Rollcall")
    }
  }

  static func checkSyntax(_ name: String, _ place: Place, _ reading: inout Reading) {
    if !isValid(name) {
      reading.report(place, "`\(name)` cannot name an environment variable: letters, digits and _, no digit first")
    }
  }

  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
  }
}
