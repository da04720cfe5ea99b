import Foundation

/// What every launcher asks that keeps attempts in run directories.
extension Agent {
  /// - Throws: `LaunchError` where the host lacks a program, or its work directory is of no use.
  func enrol(_ verb: String, _ arguments: [String] = []) async throws -> HostFacts {
    let before = Date().timeIntervalSince1970
    let reply = try await call(verb, arguments)
    let after = Date().timeIntervalSince1970
    var values: [Substring: String] = [:]
    var versions: [String: String] = [:]
    var missing: [String] = []
    var gpus: [(id: String, name: String)] = []
    for line in reply.lines {
      let (key, rest) = line.firstWord
      switch key {
      case "missing": missing.append(String(rest))
      case "unavailable": throw error(.noReply, "the controller does not answer: \(rest)")
      case "untold": throw error(.noReply, "the host does not tell of its GPUs now: \(rest)")
      case "unusable": throw unusable(String(rest))
      case "version":
        let (name, value) = rest.firstWord
        versions[String(name)] = String(value)
      case "gpu":
        let (id, name) = rest.firstWord
        gpus.append((String(id), String(name)))
      default: values[key] = String(rest)
      }
    }
    guard missing.isEmpty else {
      let remedy =
        missing.contains("sbatch")
        ? "is it a login node, and is Slurm in the PATH of a shell that nobody logged in to?"
        : "install coreutils, grep, sed and util-linux there"
      throw error(.missingTool, "the host lacks \(missing.joined(separator: " ")); \(remedy)")
    }
    func value(_ key: Substring) throws -> String {
      guard let value = values[key], !value.isEmpty else {
        throw error(.noReply, "the host did not tell its \(key); it told \(values.keys.sorted())")
      }
      return value
    }
    func number<Number: LosslessStringConvertible>(_ key: Substring) throws -> Number {
      let text = try value(key)
      guard let number = Number(text) else {
        throw error(.noReply, "the host's \(key) is \(text.debugDescription)")
      }
      return number
    }
    _ = values["end"] == nil ? try value("end") : ""
    let clock: Double = try number("clock")
    guard clock.isFinite else { throw error(.noReply, "the host's clock is \(clock)") }
    let (limit, limitName) = Substring(values["limit"] ?? "").firstWord
    return HostFacts(
      bootID: try value("boot"), home: try value("home"), workdir: try value("workdir"), cpuCount: try number("cpus"),
      gpuNames: gpus.map(\.name), gpuIDs: gpus.map(\.id), gpuDriver: values["driver"],
      freeDiskBytes: try number("disk"), clockOffset: HostFacts.clockOffset(clock, between: before, and: after),
      versions: versions, nodeName: values["node"] ?? "", endedAtLogout: values["logout"], jobLimit: Int(limit),
      jobLimitName: limitName.isEmpty ? nil : String(limitName))
  }

  func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] {
    try checkName(attempt)
    guard name == "stdout.log" || name == "stderr.log" else {
      throw error(.badName, "\(name.debugDescription) is no log; there are stdout.log and stderr.log")
    }
    guard offset >= 0, limit >= 0, limit <= 1 << 30 else {
      throw error(.badName, "a piece of a log cannot start at \(offset) and have \(limit) bytes")
    }
    let reply = try await call("log", [attempt, name, "\(offset)", "\(limit)"], limit: limit + 4096)
    guard reply.lines[0] == "log" else { throw error(.absent, "the host knows no attempt \(attempt)") }
    return reply.body
  }

  func checkName(_ attempt: String) throws {
    guard isSafeName(attempt) else {
      throw error(.badName, "\(attempt.debugDescription) cannot name an attempt: letters, digits, - and _ can")
    }
  }
}
