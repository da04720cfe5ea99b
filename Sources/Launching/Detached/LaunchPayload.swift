import Foundation
import Transports

/// What a launch sends: the files of the run directory.
struct LaunchPayload: Sendable {
  let id: String
  let token: String
  /// What the supervisor reads: variables of the shell.
  let settings: String
  let command: String
  /// `export` lines.
  let environment: String
  /// The same as names and values.
  let variables: [AttemptSpec.EnvironmentEntry]
  /// Whole seconds.
  let limit: Int
  /// Of the job file; may be empty.
  let jobCommit: String
  /// `spec.json`.
  let specification: [UInt8]
  let files: [ShippedFile]
  /// It takes nothing of the host but a process, and there is nothing to find out about its environment: many such have
  /// one supervisor together.
  let isPlain: Bool
  /// On a cluster: what it has in common with those that can go with it as one array; nil: it goes by itself.
  var shape: String?

  /// A reason for which an attempt is never launched.
  struct Refusal: Error {
    var reason: String
  }

  /// Checks everything before anything is sent.
  ///
  /// - Parameter cluster: The words for the shell that a cluster's launcher reads beside the others: nothing of the
  ///   host is to be taken, since the cluster allots it.
  init(_ spec: AttemptSpec, files: [ShippedFile], cluster: String? = nil) throws {
    guard isSafeName(spec.id) else {
      throw Refusal(reason: "the attempt id \(spec.id.debugDescription) is no safe name")
    }
    guard isSafeName(spec.token) else {
      throw Refusal(reason: "the token holds other characters than letters and digits")
    }
    limit = try Self.seconds(spec.timeout, "timeout")
    let stall = try spec.stallTimeout.map { try Self.seconds($0, "stall_timeout") } ?? 0
    guard (0...86_400).contains(spec.holdSeconds ?? 0) else {
      throw Refusal(reason: "a share of a gang cannot wait \(spec.holdSeconds ?? 0) seconds for the others")
    }
    guard (0...1024).contains(spec.gpuCount) else { throw Refusal(reason: "\(spec.gpuCount) GPUs cannot be taken") }
    try Self.check(spec.command, limit: 96 << 10, "the command")
    guard !spec.command.isEmpty else { throw Refusal(reason: "the command is empty") }

    var environment = ""
    for entry in spec.environment {
      guard isVariableName(entry.name) else {
        throw Refusal(reason: "\(entry.name.debugDescription) is no name of an environment variable")
      }
      try Self.check(entry.value, limit: 96 << 10, "the value of \(entry.name)")
      environment += "export \(entry.name)=\(shellQuote(entry.value))\n"
    }

    var names: Set<String> = []
    for file in files {
      guard isFileName(file.name) else { throw Refusal(reason: "\(file.name.debugDescription) is no safe file name") }
      guard names.insert(file.name).inserted else {
        throw Refusal(reason: "two files are named \(file.name.debugDescription); they would overwrite each other")
      }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    specification = try encoder.encode(spec) + [UInt8(ascii: "\n")]
    id = spec.id
    token = spec.token
    command = spec.command
    self.environment = environment
    variables = spec.environment
    self.files = files
    let values = Dictionary(spec.environment.map { ($0.name, $0.value) }) { _, last in last }
    jobCommit = values["ROLLCALL_JOB_COMMIT"] ?? ""
    let speaksOfPython = ["python", "PYTHON", "torchrun"].contains { spec.command.contains($0) }
    isPlain =
      cluster == nil && spec.gpuCount == 0 && !spec.isExclusive && spec.holdSeconds == nil && stall == 0
      && values["ENGINE_SOURCE"] == nil && !speaksOfPython
    settings = """
      token=\(shellQuote(spec.token)) gpus=\(cluster == nil ? spec.gpuCount : 0) limit=\(limit) stall=\(stall) \
      exclusive=\(cluster == nil && spec.isExclusive ? 1 : 0) hold=\(spec.holdSeconds ?? 0)
      described=\(cluster == nil && values["ENGINE_SOURCE"] == nil ? 0 : 1) job_commit=\(shellQuote(jobCommit))
      text=\(shellQuote(spec.command))
      \(cluster ?? "")
      """
  }

  /// One file after the other, as `agent.sh launch` reads them.
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    func append(_ name: String, mode: String, _ contents: [UInt8]) {
      bytes += Array("F \(mode) \(contents.count) \(name)\n".utf8)
      bytes += contents
    }
    append("spec.json", mode: "600", specification)
    append("command", mode: "644", Array(command.utf8))
    append("environment.sh", mode: "600", Array(environment.utf8))
    append("settings.sh", mode: "644", Array(settings.utf8))
    for file in files { append("files/\(file.name)", mode: file.mode, file.contents) }
    return bytes + Array("E\n".utf8)
  }

  /// Whole seconds, rounded up: the host counts no finer.
  private static func seconds(_ value: Double, _ name: String) throws -> Int {
    guard value > 0, value <= 1e9 else { throw Refusal(reason: "\(name) is \(value) seconds; it must be above 0") }
    return Int(value.rounded(.up))
  }

  private static func check(_ text: String, limit: Int, _ name: String) throws {
    guard !text.utf8.contains(0) else { throw Refusal(reason: "\(name) holds a NUL byte, which no process can take") }
    guard text.utf8.count <= limit else {
      throw Refusal(reason: "\(name) has \(text.utf8.count) bytes; at most \(limit) can be handed to a process")
    }
  }
}

extension ShippedFile {
  fileprivate var mode: String { isExecutable ? "755" : "644" }
}

/// Launches that are asked for while another one is under way go together.
typealias LaunchQueue = SendQueue<LaunchBatch, LaunchOutcome>

/// What several launches send together, as `agent.sh launch-many` reads it: words for its shell, every one of them
/// quoted, and then each file once.
struct LaunchBatch: SendBatch {
  static let countLimit = 256
  private let countLimit: Int
  /// Shapes that go as arrays: of these, any number.
  private let arrays: Set<String>
  private static let byteLimit = 8 << 20

  private(set) var payloads: [LaunchPayload] = []
  /// Those that are no elements of arrays.
  private var singles = 0
  /// One an attempt: its words, and before them those for files that no earlier one brings.
  private var lines: [(blobs: String, attempt: String)] = []
  private var wordBytes = 0
  private var contents: [UInt8] = []
  private var blobs: [ShippedFile: Int] = [:]

  init(countLimit: Int = Self.countLimit, arrays: Set<String> = []) {
    self.countLimit = countLimit
    self.arrays = arrays
  }

  private func isElement(_ payload: LaunchPayload) -> Bool { payload.shape.map(arrays.contains) == true }

  /// - Returns: False where it would grow too large, or holds that attempt already.
  mutating func add(_ payload: LaunchPayload) -> Bool {
    guard isElement(payload) || singles < countLimit, !payloads.contains(where: { $0.id == payload.id }) else {
      return false
    }
    let fresh = payload.files.filter { blobs[$0.unnamed] == nil }.reduce(0) { $0 + $1.contents.count }
    let size = fresh + 2 * payload.command.utf8.count + payload.environment.utf8.count
    guard payloads.isEmpty || wordBytes + contents.count + size <= Self.byteLimit else { return false }
    var fileWords = ""
    var line = [payload.id, payload.token, payload.settings]
    line += [payload.command, String(decoding: payload.specification, as: UTF8.self), payload.environment]
    for file in payload.files {
      let number = blobs[file.unnamed] ?? blobs.count
      if blobs.updateValue(number, forKey: file.unnamed) == nil {
        fileWords += "blob \(number) \(file.contents.count) \(file.mode) || return 1\n"
        contents += file.contents
      }
      line += [String(number), file.name]
    }
    lines.append((fileWords, line.map(shellQuote).joined(separator: " ")))
    wordBytes += fileWords.utf8.count + (lines.last?.attempt.utf8.count ?? 0)
    payloads.append(payload)
    if !isElement(payload) { singles += 1 }
    return true
  }

  /// Those that meet a condition.
  func part(_ condition: (LaunchPayload) -> Bool) -> LaunchBatch {
    var part = LaunchBatch(countLimit: countLimit)
    for payload in payloads where condition(payload) { _ = part.add(payload) }
    return part
  }

  var bytes: [UInt8] {
    // One alone has a supervisor of its own.
    let isCrew = payloads.count { $0.isPlain } > 1
    let shapes = Dictionary(uniqueKeysWithValues: arrays.sorted().enumerated().map { ($1, $0) })
    let words = zip(payloads, lines).map { payload, line in
      let shape = payload.shape.flatMap { shapes[$0] }.map { "element \($0)" }
      let verb = shape ?? (isCrew && payload.isPlain ? "plain_attempt" : "attempt")
      return "\(line.blobs)\(verb) \(line.attempt) || return 1\n"
    }.joined()
    return Array("\(words.utf8.count)\n".utf8) + Array(words.utf8) + contents
  }
}

extension ShippedFile {
  fileprivate var unnamed: ShippedFile { ShippedFile(name: "", contents: contents, isExecutable: isExecutable) }
}

/// Letters, digits, `-` and `_`; no leading `-`.
func isSafeName(_ name: String) -> Bool {
  (1...200).contains(name.utf8.count) && !name.hasPrefix("-")
    && name.utf8.allSatisfy { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
}

private func isVariableName(_ name: String) -> Bool {
  guard let first = name.utf8.first, !isDigit(first) else { return false }
  return name.utf8.allSatisfy { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "_") }
}

/// One path component without control characters.
private func isFileName(_ name: String) -> Bool {
  (1...255).contains(name.utf8.count) && name != "." && name != ".."
    && name.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") }
}

private func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) }
private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
