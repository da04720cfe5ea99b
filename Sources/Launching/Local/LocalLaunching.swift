import Foundation
import Glibc
import Synchronization

/// What a launcher does itself where its host is the machine it runs on.
final class LocalLaunching: Sendable {
  private let agent: Agent
  /// The words that start a supervisor.
  private let program: [String]
  private let link = Mutex<SupervisorLink?>(nil)

  init(agent: Agent, program: [String]) {
    self.agent = agent
    self.program = program
  }

  /// One outcome a payload; those that are not plain go to the host's shell, as does whatever the supervisor cannot do.
  ///
  /// - Parameter workdir: Absolute; the agent's script is there.
  func launch(_ batch: LaunchBatch, workdir: String) async -> [Result<LaunchOutcome, any Error>] {
    let orders = batch.payloads.filter(\.isPlain).map(\.order)
    guard !orders.isEmpty, let message = SupervisorOrder.message(orders), let link = link(workdir: workdir) else {
      return await agent.launch(batch)
    }
    let answers = await link.launch(message)
    if answers == nil {
      // It has gone: the next launch starts another one.
      self.link.withLock { if $0 === link { $0 = nil } }
    }
    var outcomes: [String: Result<LaunchOutcome, any Error>] = [:]
    for payload in batch.payloads where answers?[payload.id[...]] == "started" {
      outcomes[payload.id] = .success(.started)
    }
    let rest = batch.part { outcomes[$0.id] == nil }
    if !rest.payloads.isEmpty {
      for (payload, outcome) in zip(rest.payloads, await agent.launch(rest)) {
        outcomes[payload.id] = answers == nil && payload.isPlain ? doubted(outcome) : outcome
      }
    }
    return batch.payloads.map {
      outcomes[$0.id] ?? .failure(agent.error(.noReply, "nobody told what became of \($0.id)"))
    }
  }

  /// A supervisor that did not answer may still start what a shell could not.
  private func doubted(_ outcome: Result<LaunchOutcome, any Error>) -> Result<LaunchOutcome, any Error> {
    switch outcome {
    case .success(.refused(let why)), .success(.noSpace(let why)), .success(.gpuBusy(let why)):
      .failure(agent.error(.noReply, "the supervisor of this machine does not answer; and \(why)"))
    default: outcome
    }
  }

  private func link(workdir: String) -> SupervisorLink? {
    link.withLock { link in
      if link == nil {
        link = SupervisorLink(
          program: program, workdir: workdir, script: "\(workdir)/agent/\(agent.script.version).sh")
      }
      return link
    }
  }

  /// How attempts stand, as far as their directories tell it at once: those that run or have ended. The rest is the
  /// agent's to find out.
  func states(of attempts: [String], workdir: String) -> [String: AttemptStatus] {
    guard let boot = LocalProcess.bootID else { return [:] }
    var found: [String: AttemptStatus] = [:]
    var supervisors: [pid_t: UInt64?] = [:]
    for attempt in attempts {
      let directory = "\(workdir)/attempts/\(attempt)"
      if let text = LocalFile.read(directory + "/exit.json", limit: 1 << 20) {
        // Until the room for it is gone, it may not be on the disk.
        guard access(directory + "/.reserve", F_OK) != 0, errno == ENOENT else { continue }
        if let record = try? JSONDecoder().decode(ExitRecord.self, from: Data(text)) {
          found[attempt] = .exited(record)
        }
        continue
      }
      // A share that is held back wants to be asked by its own shell.
      guard let text = LocalFile.read(directory + "/identity", limit: 1000), access(directory + "/held", F_OK) != 0
      else { continue }
      let words = String(decoding: text, as: UTF8.self).split(separator: " ")
      guard words.count >= 3, words[0] == boot[...], let pid = pid_t(words[1]),
        let started = UInt64(words[2].prefix { $0 != "\n" })
      else { continue }
      let seen = supervisors[pid] ?? LocalProcess(pid).flatMap { $0.isDead ? nil : $0.started }
      supervisors[pid] = seen
      guard seen == started, let output = size(directory + "/stdout.log"), let error = size(directory + "/stderr.log")
      else { continue }
      found[attempt] = .running(outputBytes: output + error)
    }
    return found
  }

  private func size(_ path: String) -> Int? {
    var facts = stat()
    return stat(path, &facts) == 0 ? Int(facts.st_size) : nil
  }
}

extension LaunchPayload {
  /// The same for the supervisor on this machine.
  fileprivate var order: SupervisorOrder {
    SupervisorOrder(
      id: id, token: token, limit: limit, command: command, specification: specification, jobCommit: jobCommit,
      environment: variables, files: files)
  }
}
