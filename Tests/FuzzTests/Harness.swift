import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

/// Runs mutated inputs one after another and says by file and seed which one brought the process down.
///
/// - A crash (a trap, a bad access, an abort) or an input that takes longer than `hangSeconds` ends the process;
///   before it does, a signal handler prints the name of the input, its seed and its file, which stays.
/// - An error of an unexpected type, or a broken promise about a result, is an ordinary test failure that names the
///   same.
/// - The growth of the peak resident memory over the whole campaign is held against `memoryBound`.
///
/// `ROLLCALL_FUZZ_SEED=N` replays input N alone. `ROLLCALL_TEST_LONG=1` runs `longFactor` times as many inputs, and
/// `ROLLCALL_FUZZ_SECONDS=S` ends a campaign after S seconds and says how many inputs that were.
struct Campaign {
  /// Names the inputs in messages and files.
  var name: String
  /// Inputs of a short run.
  var count: Int
  /// Bytes by which the peak resident memory may grow.
  var memoryBound = 64 << 20
  /// End of the files' names, where a reader goes by it.
  var suffix = ""

  static let longFactor = 200
  /// No input of these sizes should take a second; a loaded machine gets a minute.
  static let hangSeconds: UInt32 = 60

  /// - Parameters:
  ///   - make: the input of one seed.
  ///   - check: reads the input's file and says whether it was taken; what it throws is a failure of that input.
  func run(make: (inout Mutator) -> [UInt8], check: (String) throws -> Bool) throws {
    let environment = ProcessInfo.processInfo.environment
    let isLong = environment["ROLLCALL_TEST_LONG"] == "1"
    var seeds = 0..<UInt64(count * (isLong ? Self.longFactor : 1))
    if let text = environment["ROLLCALL_FUZZ_SEED"] {
      let seed = try #require(UInt64(text), "ROLLCALL_FUZZ_SEED is not a number")
      seeds = seed..<(seed + 1)
    }
    let scratch = try Scratch()
    defer { scratch.remove() }
    let folder = URL(fileURLWithPath: scratch.path).deletingLastPathComponent().path

    // Warm-up: what the first input allocates for good is no growth.
    var first = Mutator(seed: seeds.lowerBound)
    _ = make(&first)
    let guarded = SignalGuard()
    defer { guarded.end() }
    let before = try ResidentMemory.resetPeak()
    var taken = 0
    var done = 0
    let start = ContinuousClock.now
    let limit = environment["ROLLCALL_FUZZ_SECONDS"].flatMap(Int.init).map { start + .seconds($0) }
    for seed in seeds {
      if let limit, ContinuousClock.now >= limit { break }
      done += 1
      var mutator = Mutator(seed: seed)
      let input = make(&mutator)
      let file = scratch.path("\(name)-\(seed)\(suffix)")
      try Data(input).write(to: URL(fileURLWithPath: file))
      guarded.begin("\(name): input \(seed) is in \(file); replay with ROLLCALL_FUZZ_SEED=\(seed)")
      do {
        if try check(file) { taken += 1 }
        unlink(file)
      } catch {
        let kept = "\(folder)/rollcall-fuzz-\(name)-\(seed)"
        try? FileManager.default.removeItem(atPath: kept)
        try FileManager.default.moveItem(atPath: file, toPath: kept)
        Issue.record("\(name): input \(seed) is in \(kept); replay with ROLLCALL_FUZZ_SEED=\(seed): \(error)")
        return
      }
      guarded.pause()
    }
    // All refused or all taken: then the damage is too coarse, or too light, to test anything.
    #expect(done < 100 || (taken > done / 50 && taken < done), "\(name): \(taken) of \(done) inputs were taken")
    let growth = max(0, try ResidentMemory.peak() - before)
    let seconds = (ContinuousClock.now - start).components.seconds
    print("\(name): \(taken) of \(done) inputs taken in \(seconds) s, memory +\(growth >> 20) MiB")
    #expect(
      growth <= memoryBound,
      "\(name): the peak resident memory grew by \(growth >> 20) MiB, more than \(memoryBound >> 20)")
  }
}

/// A promise about a result that an input broke.
struct BrokenPromise: Error, CustomStringConvertible {
  var description: String
}

/// Peak resident memory of this process, from the kernel.
enum ResidentMemory {
  /// Bytes.
  static func peak() throws -> Int {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }, "no VmHWM")
    let kibibytes = try #require(line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first)
    return try #require(Int(kibibytes)) << 10
  }

  /// Sets the peak to what is resident now, where the kernel lets us, and gives it.
  static func resetPeak() throws -> Int {
    try? "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8)
    return try peak()
  }
}

/// While it stands, deadly signals and the alarm clock print which input is at work before the process ends.
private struct SignalGuard {
  /// Address of the text for the handler, which may take no lock and allocate nothing.
  private static let message = Atomic<UInt>(0)
  private static let signals = [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM]
  private let stack: UnsafeMutableRawPointer

  init() {
    // Its own stack: an exhausted one is among the faults it reports.
    stack = .allocate(byteCount: 1 << 16, alignment: 16)
    var place = stack_t(ss_sp: stack, ss_flags: 0, ss_size: 1 << 16)
    sigaltstack(&place, nil)
    for signal in Self.signals {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { number in
        if let text = UnsafePointer<CChar>(bitPattern: SignalGuard.message.load(ordering: .relaxed)) {
          let why: StaticString = number == SIGALRM ? "\nfuzz: hang: " : "\nfuzz: crash: "
          _ = Glibc.write(2, why.utf8Start, why.utf8CodeUnitCount)
          _ = Glibc.write(2, text, strlen(text))
          _ = Glibc.write(2, "\n", 1)
        }
        _ = Glibc.signal(number, SIG_DFL)
        raise(number)
      }
      action.sa_flags = SA_ONSTACK
      sigaction(signal, &action, nil)
    }
  }

  func begin(_ text: String) {
    replace(by: UInt(bitPattern: strdup(text)))
    alarm(Campaign.hangSeconds)
  }

  func pause() {
    alarm(0)
    replace(by: 0)
  }

  func end() {
    pause()
    for signal in Self.signals { _ = Glibc.signal(signal, SIG_DFL) }
    var place = stack_t(ss_sp: nil, ss_flags: Int32(SS_DISABLE), ss_size: 0)
    sigaltstack(&place, nil)
    stack.deallocate()
  }

  private func replace(by address: UInt) {
    let old = Self.message.exchange(address, ordering: .relaxed)
    free(UnsafeMutableRawPointer(bitPattern: old))
  }
}
