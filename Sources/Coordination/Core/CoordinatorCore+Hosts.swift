import BitCollections
import Foundation
import Launching
import Ledger
import Planning
import Scheduling
import Transports

extension CoordinatorCore {
  /// One host as the core sees it.
  struct Host: Sendable {
    let host: Fleet.Host
    /// What it last told of itself.
    var facts: HostFacts?
    /// It told so since its last trouble: it takes runs.
    var isEnrolled = false
    /// Steady time before which it is not asked who it is while anything of ours is open there: the answer may take a tool
    /// of its GPUs that hangs, and meanwhile nobody learns how its attempts stand.
    var enrolAt = -Double.infinity
    /// It answered since its last trouble: it is given work.
    var isReachable = false
    var trouble: TransportError?
    var failures = 0
    /// Steady time before which it is left alone.
    var retryAt = 0.0
    /// Waiting does not mend its trouble, but a person may: it is asked now and then.
    var isBlocked = false
    /// Steady time of the first failed contact since its last answer.
    var silentSince = 0.0
    /// Steady time at which the latest of what failed was asked of it.
    var askedInVain = -Double.infinity
    /// Seconds for which former coordinators asked it in vain; nil: it has answered this one.
    var formerSilence: Double? = 0
    /// Seconds of silence that its open attempts were last noted with.
    var notedSilence = 0.0
    /// The trouble that they were last noted with.
    var notedTrouble: TransportError?
    /// The enrolment or poll under way: never more than one.
    var question: Int?
    /// Steady time of the last poll's answer; before all time: a poll is due at once.
    var polled = -Double.infinity
    /// Seconds that the last poll took.
    var pollCost = 0.0
    /// Steady time of the last launch or news: polls come quickly at first, then ever more slowly.
    var changed: Double
    /// Attempts that it is still to be asked about.
    var watched: [Int] = []
    /// Steady time until which there is nothing to ask of it, unless something happens to it.
    var restsUntil = -Double.infinity
    /// How often in a row a cluster said that it takes no more jobs.
    var refusals = 0
    /// Steady time before which it is given none.
    var fullUntil = -Double.infinity
    /// Its disk took no run, and was not found to have room since.
    var isDiskFull = false
    /// How often in a row it took none.
    var diskRefusals = 0
    /// Steady time of the next look at a full disk.
    var diskLookAt = -Double.infinity
    var launches = 0
    var gathers = 0
    var stops = 0

    init(_ host: Fleet.Host, now: Double) {
      self.host = host
      changed = now
    }

    var gpuCount: Int? { SchedulerInput.gpuCount(of: host, facts) }
  }

  mutating func enrolled(_ host: Int, _ facts: HostFacts) {
    hosts[host].facts = facts
    let isKnown = hosts[host].isEnrolled
    hosts[host].isEnrolled = true
    hosts[host].isDiskFull = false
    if facts.freeDiskBytes < HostFacts.leastFreeDisk {
      hasFullDisk(host, "\(facts.freeDiskBytes) bytes are free in \(facts.workdir)")
    }
    if isKnown { return }
    var summary = "\(facts.cpuCount) CPUs, \(hosts[host].gpuCount ?? 0) GPUs"
    if abs(facts.clockOffset) > HostFacts.toleratedClockOffset {
      let seconds = String(format: "%.0f", abs(facts.clockOffset))
      summary += "; its clock is \(seconds) s \(facts.clockOffset > 0 ? "ahead of" : "behind") ours"
    }
    output.progress.append(.hostReady(host: name(host), summary: summary))
    if let user = facts.endedAtLogout {
      output.progress.append(.hostTrouble(host: name(host), message: HostFacts.logoutRemedy(of: user)))
    }
  }

  /// - Parameter asked: Steady time of the question that it has answered.
  mutating func recovered(_ host: Int, asked: Double) {
    hosts[host].silentSince = now.steady
    hosts[host].formerSilence = nil
    if hosts[host].notedSilence > 0 { noteSilence(0, of: host) }
    // What was asked before says nothing of what blocks it.
    guard !hosts[host].isBlocked || asked >= hosts[host].retryAt else { return }
    hosts[host].isBlocked = false
    hosts[host].isReachable = true
    hosts[host].trouble = nil
    hosts[host].failures = 0
    hosts[host].retryAt = 0
  }

  /// A command that may or may not have arrived.
  mutating func failed(_ command: Pending, _ trouble: TransportError) {
    if case .launch(let attempt) = command.kind {
      attempts[attempt].isInDoubt = true
      if attempts[attempt].record.state.isOpen { attempts[attempt].need = nil }
    }
    var host = hosts[command.host]
    let isNews = host.trouble != trouble
    if host.trouble == nil { host.silentSince = now.steady }
    host.askedInVain = max(host.askedInVain, command.given)
    // A host that knew our key before is to know it again when what it asks (a directory service) is back, and one that
    // had a work directory is to have it again when its disks are mounted. Many vain tries may lock an account.
    let isPassing = [.authenticationFailed, .configuration].contains(trouble.code) && host.facts != nil
    let wasBlocked = host.isBlocked
    host.isBlocked = wasBlocked || trouble.isPermanent && !isPassing
    // Commands that were under way together fail together, and count once.
    if host.trouble == nil || host.retryAt <= now.steady || host.isBlocked != wasBlocked {
      host.failures += 1
      // A key that is refused costs the host no login, and somebody may trust it at any moment.
      let isUntrusted = [.hostKeyUnknown, .hostKeyChanged].contains(trouble.code)
      let backOff = min(isPassing ? 300 : 60, Double(1 << min(host.failures, 9)))
      let pause = isUntrusted ? 15 : host.isBlocked ? 300 : backOff
      host.retryAt = now.steady + pause
      // Whether its work is lost hangs on the question that it is asked when its time is up: that is not put off.
      let end = endOfPatience(with: host)
      if host.askedInVain < end { host.retryAt = min(host.retryAt, max(now.steady, end)) }
    }
    host.trouble = trouble
    host.isReachable = false
    host.isEnrolled = false
    hosts[command.host] = host
    if isNews { output.progress.append(.hostTrouble(host: host.host.name, message: trouble.message)) }
    if case .enrol = command.kind { hosts[command.host].enrolAt = now.steady + 60 }
    if let (attempt, need) = command.kind.subject { triedInVain(attempt, need, trouble) }
  }

  /// Nothing is asked of a host in trouble before it has answered something: what still has no answer again and again is
  /// not the host's trouble alone.
  private mutating func triedInVain(_ index: Int, _ need: Attempt.Need, _ trouble: TransportError) {
    let former = attempts[index].vain.flatMap { $0.need == need ? $0 : nil }
    let (count, since) = ((former?.count ?? 0) + 1, former?.since ?? now.steady)
    attempts[index].vain = (need, count, since)
    guard count >= settings.vainTries, now.steady - since >= settings.vainPatience else { return }
    let why = "asked \(count) times, its host did not answer, though it answers otherwise: \(trouble.message)"
    switch need {
    case .launch: refused(index, why)
    case .gather: notGathered(index, why)
    case .stop: notStopped(index, why)
    case .release: return
    }
  }

  /// Nothing is placed on a host with a full disk before a look finds room there: it would be free for the next run,
  /// and the next. Launches that were asked for together are refused together.
  mutating func hasFullDisk(_ host: Int, _ why: String) {
    guard !hosts[host].isDiskFull else { return }
    hosts[host].isDiskFull = true
    hosts[host].diskRefusals += 1
    hosts[host].diskLookAt = now.steady + min(60, Double(1 << min(hosts[host].diskRefusals, 6)))
    hosts[host].restsUntil = -.infinity
    isPlacingDue = true
    if hosts[host].diskRefusals == 1 {
      output.progress.append(
        .hostTrouble(host: name(host), message: "\(why); no run is started there before there is room"))
    }
  }

  /// A cluster takes no more jobs: what was to be launched waits, and nothing new is placed there. Those who were asked
  /// for together are told together.
  mutating func isFull(_ host: Int) {
    if hosts[host].fullUntil <= now.steady {
      hosts[host].refusals += 1
      let pause = (hosts[host].host.slurm?.poll ?? 5) * Double(1 << min(hosts[host].refusals, 6))
      hosts[host].fullUntil = now.steady + min(settings.slowestClusterPoll, pause)
    }
  }

  mutating func hasRoom(_ host: Int) {
    guard hosts[host].refusals > 0 else { return }
    hosts[host].refusals = 0
    hosts[host].fullUntil = -.infinity
  }

  /// One of its jobs has ended.
  mutating func mayHaveRoom(_ host: Int) {
    hosts[host].fullUntil = -.infinity
    hosts[host].restsUntil = -.infinity
  }

  /// Seconds for which a host in trouble was asked in vain, by former coordinators too: restarts do not begin it anew. Of
  /// the time in which nobody asked, nothing is known.
  private func silence(of host: Int) -> Double {
    now.steady - hosts[host].silentSince + (hosts[host].formerSilence ?? 0)
  }

  /// Steady time at which a host in trouble will have been silent for `lostAfter`.
  private func endOfPatience(with host: Host) -> Double {
    host.silentSince - (host.formerSilence ?? 0) + settings.lostAfter
  }

  /// Asked in vain when it had been in trouble for so long that its work counts as lost. Time alone does not make it
  /// so: it may have come back since it was last asked.
  func isSilent(_ host: Int) -> Bool {
    hosts[host].trouble != nil && hosts[host].askedInVain >= endOfPatience(with: hosts[host])
  }

  /// Has the ledger know how long a host has been silent, and why: for the next coordinator, and for who looks.
  private mutating func noteSilence(_ silence: Double, of host: Int) {
    let isOther = isOtherTrouble(host)
    hosts[host].notedSilence = silence
    hosts[host].notedTrouble = silence > 0 ? hosts[host].trouble : nil
    for attempt in hosts[host].watched where attempts[attempt].record.state.isOpen {
      let (former, why) = (attempts[attempt].record.why, silence > 0 ? hosts[host].trouble?.message : nil)
      attempts[attempt].record.unheard = silence
      attempts[attempt].record.why = why
      output.writes.append(.attempt(attempts[attempt].record))
      guard (former == nil) != (why == nil) || isOther else { continue }
      let (record, kind) = (attempts[attempt].record, why == nil ? "reachable" : "unreachable")
      let words = why.map { "does not answer: " + $0 } ?? "answers"
      note(record.sweep, record.run, record.id, kind, "\(name(host)) \(words)")
    }
  }

  /// A person is to act (a host key) where before waiting helped, or the reverse: who looks is to see it at once.
  private func isOtherTrouble(_ host: Int) -> Bool {
    guard let noted = hosts[host].notedTrouble, let trouble = hosts[host].trouble else { return false }
    return trouble.code != noted.code && (trouble.isPermanent || noted.isPermanent)
  }

  /// Keeps count of those that stand out, and which the scheduler may have to be told of.
  mutating func sortOutHosts() {
    for host in hosts.takeChanged() {
      if hosts[host].trouble != nil { troubled.insert(host) } else { troubled.remove(host) }
      if hosts[host].facts == nil { unknown.insert(host) } else { unknown.remove(host) }
      untoldHosts.insert(host)
    }
  }

  /// An unreachable host is not dead: only after `lostAfter`, and only when it was tried in vain, is its work lost.
  mutating func giveUpSilentHosts() {
    // Soon once, for those who look at it, then seldom: it is one row for each attempt there.
    for host in troubled
    where silence(of: host) - hosts[host].notedSilence >= settings.lostAfter / (hosts[host].notedSilence > 0 ? 10 : 360)
      || isOtherTrouble(host)
    {
      noteSilence(silence(of: host), of: host)
    }
    for host in troubled where isSilent(host) && hosts[host].question == nil {
      for attempt in hosts[host].watched
      where attempts[attempt].record.state.isOpen && attempts[attempt].command == nil {
        let silence = Int(silence(of: host))
        let trouble = hosts[host].trouble?.message ?? ""
        lose(
          attempt, "host \(name(host)) was not heard of for \(silence) s: \(trouble)", ending: .unreachable,
          kind: "lost")
      }
    }
  }

  /// Steady time at which the host is to be asked how its attempts stand.
  private func pollDue(_ host: Host) -> Double {
    let age = max(0, host.polled - host.changed)
    if let slurm = host.host.slurm {
      // A controller under load, which answers slowly, is left alone for longer.
      let regular = min(max(settings.slowestClusterPoll, slurm.poll), max(slurm.poll, age * settings.pollShare))
      return host.polled + max(regular, min(settings.slowestPollUnderLoad, host.pollCost * settings.pollRest))
    }
    if host.host.address == .local {
      let regular = max(settings.quickestLocalPoll, age * settings.localPollShare)
      return host.polled + min(settings.slowestPoll, max(regular, host.pollCost * settings.localPollRest))
    }
    return host.polled + min(settings.slowestPoll, max(settings.quickestPoll, age * settings.pollShare))
  }

  /// Gives out what each host may be asked now, and finds the time of the next look.
  mutating func issue() {
    let gather = gatherToTry()
    for host in hosts.indices {
      if hosts[host].restsUntil <= now.steady {
        hosts[host].restsUntil = .infinity
        issue(host, gather)
      }
      output.wakeAt = min(output.wakeAt, hosts[host].restsUntil)
    }
    for run in delayed { output.wakeAt = min(output.wakeAt, runs[run].notBefore) }
    if !queue.isEmpty, !isPlacingAllowed { output.wakeAt = min(output.wakeAt, started + settings.enrolPatience) }
  }

  private mutating func issue(_ host: Int, _ gather: Int?) {
    guard hosts[host].retryAt <= now.steady else {
      rest(host, until: hosts[host].retryAt)
      return
    }
    work(host, gather)
    ask(host)
  }

  private mutating func rest(_ host: Int, until time: Double) {
    hosts[host].restsUntil = min(hosts[host].restsUntil, time)
  }

  /// Launches, gathers and stops.
  /// - Parameter gather: The one that may be tried while the store is full.
  private mutating func work(_ host: Int, _ gather: Int?) {
    guard hosts[host].isReachable else { return }
    for index in hosts[host].watched {
      guard let need = attempts[index].need, attempts[index].command == nil else { continue }
      guard attempts[index].notBefore <= now.steady else {
        rest(host, until: attempts[index].notBefore)
        continue
      }
      let record = attempts[index].record
      switch need {
      case .launch:
        guard hosts[host].fullUntil <= now.steady else {
          rest(host, until: hosts[host].fullUntil)
          continue
        }
        guard let run = attempts[index].run, hosts[host].launches < settings.launchesPerHost else { continue }
        hosts[host].launches += 1
        give(.launch(record, runs[run].record), .launch(index), host)
      case .release: give(.release(record), .release(index), host)
      case .gather:
        guard let run = attempts[index].run, hosts[host].gathers < settings.gathersAskedPerHost,
          room.refusals == 0 || index == gather
        else { continue }
        hosts[host].gathers += 1
        give(.gather(record, runs[run].record, shares: sharesCompleted(by: index)), .gather(index), host)
      case .stop:
        // A cluster is told of all of them together.
        let most = hosts[host].host.slurm == nil ? settings.stopsPerHost : settings.launchesPerHost
        guard hosts[host].stops < most else { continue }
        hosts[host].stops += 1
        give(.stop(record, reason: stopReason(index)), .stop(index), host)
      }
      attempts[index].command = lastCommand
    }
  }

  private func stopReason(_ index: Int) -> String {
    guard attempts[index].record.state.isOpen else { return "superseded" }
    return attempts[index].run.map(isCancelling) == false ? "gang" : "cancelled"
  }

  /// How its attempts stand, or who it is.
  private mutating func ask(_ host: Int) {
    guard hosts[host].question == nil else { return }
    let open = hosts[host].watched.filter {
      // A share that has ended waits for its gang.
      attempts[$0].record.state.isOpen && attempts[$0].record.state != .exited && attempts[$0].need == nil
        && attempts[$0].command == nil
    }
    let due = pollDue(hosts[host])
    let isLookDue = hosts[host].isDiskFull && hosts[host].diskLookAt <= now.steady
    if !open.isEmpty, due <= now.steady || !hosts[host].isReachable {
      give(.poll(open.map { attempts[$0].record.id }), .poll(open), host)
      hosts[host].question = lastCommand
    } else if !hosts[host].isEnrolled || isLookDue, open.isEmpty || hosts[host].enrolAt <= now.steady {
      give(.enrol, .enrol, host)
      hosts[host].question = lastCommand
    } else {
      if !open.isEmpty { rest(host, until: due) }
      if !hosts[host].isEnrolled { rest(host, until: hosts[host].enrolAt) }
      if hosts[host].isDiskFull { rest(host, until: max(hosts[host].diskLookAt, hosts[host].enrolAt)) }
    }
  }

  private mutating func give(_ action: Command.Action, _ kind: Pending.Kind, _ host: Int) {
    lastCommand += 1
    for attempt in kind.attempts { tie(attempt, by: 1) }
    pending[lastCommand] = Pending(kind: kind, host: host, given: now.steady)
    output.commands.append(Command(id: lastCommand, host: hosts[host].host.name, action: action))
  }
}
