import Logging
import Transports

/// One gather on its way: what was fetched, and how often the host or its files gave trouble.
struct Transfer {
  let directory: String
  let transport: any Transport
  let store: ArtifactStore
  let limits: Gatherer.Limits
  let logger: Logger
  let meter: GatherMeter?

  private(set) var bytesTransferred = 0
  /// The contents that the store lacked, with their sizes.
  private var needed: [String: Int] = [:]
  /// Bytes of the contents that were looked up in the store, -1 where it lacks one: each is asked for once, and anew
  /// after a fault.
  private var held: [String: Int] = [:]
  /// Failures since the last progress.
  private var failures = 0
  /// Parts whose leftover from an earlier transfer turned out wrong.
  private var discarded: Set<String> = []

  init(
    directory: String, transport: any Transport, store: ArtifactStore, limits: Gatherer.Limits, logger: Logger,
    meter: GatherMeter?
  ) {
    self.directory = directory
    self.transport = transport
    self.store = store
    self.limits = limits
    self.logger = logger
    self.meter = meter
  }

  /// Has the manifest of what was fetched written while nothing is pruned. What was here, and so was not fetched, may
  /// have been pruned before that: then it is fetched, too.
  /// - Returns: The manifest that was written.
  mutating func keep(
    _ fetched: Manifest, _ write: (Manifest) throws(GatheringError) -> Void
  ) async throws(GatheringError) -> Manifest {
    var manifest = fetched
    var tries = 0
    while true {
      do throws(GatheringError) {
        try await store.whileNothingIsPruned { () throws(GatheringError) in try write(manifest) }
        return manifest
      } catch {
        tries += 1
        guard error.code == .objectGone, tries < 3 else { throw error }
        held = [:]
      }
      manifest = try await fetchAll()
      manifest.attempt = fetched.attempt
    }
  }

  /// Fetches until the store holds every content of the manifest.
  /// - Returns: The manifest that was fetched.
  mutating func fetchAll() async throws(GatheringError) -> Manifest {
    transport.prepareToStream()
    var manifest = try await takeManifest(fetchingAhead: true)
    var hasRetaken = false
    var missing = missing(of: manifest.entries)
    note(missing)
    measure(manifest)
    while !missing.isEmpty {
      try reserve(for: missing)
      switch try await fetch(Self.batch(from: missing, store: store).map { WantedFile($0) }) {
      case .complete, .cut: break
      case .changed(let file, let why):
        let now = try await takeManifest()
        let changed = Self.changes(from: manifest, to: now)
        if hasRetaken {
          let names = changed.isEmpty ? [file.path] : changed
          throw GatheringError(
            code: .fileChanged, path: directory + "/dumps",
            message: "changed on the host while it was gathered, twice: "
              + names.prefix(5).map(printable).joined(separator: ", ") + (names.count > 5 ? ", …" : "") + " (\(why)). "
              + "Is something still writing there? Gather again when it has ended")
        }
        logger.warning("Files changed while they were gathered", metadata: ["files": "\(changed)", "why": "\(why)"])
        hasRetaken = true
        let wanted = Set(now.entries.map(\.sha256))
        for entry in missing where !wanted.contains(entry.sha256) {
          PartFile.removeLeftover(of: entry.sha256, in: store)
        }
        manifest = now
        measure(manifest)
      }
      missing = self.missing(of: manifest.entries)
    }
    return manifest
  }

  /// Bytes of the contents that the store lacked.
  var bytesNeeded: Int { needed.values.reduce(0, +) }

  /// What need not come is here already.
  private func measure(_ manifest: Manifest) {
    let total = manifest.entries.reduce(0) { $0 + $1.byteCount }
    meter?.expect(total)
    meter?.hold(total - bytesNeeded)
  }

  private mutating func note(_ missing: [ManifestEntry]) {
    for entry in missing { needed[entry.sha256] = entry.byteCount }
  }

  // MARK: While the host hashes

  /// From this size on a file may be fetched before its hash is known.
  private static let bigBytes = 64 << 20
  /// What is worth a stream of its own.
  private static let streamBytes = 16 << 20

  /// Fetches what is missing as soon as it is known to be, until the host has hashed all. Big files are not waited
  /// for where nothing can equal them: no other of the attempt and no object has their size.
  ///
  /// What it does not fetch is left to the caller: small attempts, a file that changed, and all where the room is short.
  private mutating func fetchAhead(_ listing: Listing, _ hashes: HostHashes) async throws(GatheringError) {
    let total = listing.files.reduce(0) { $0 + $1.byteCount }
    guard total > Manifest.quickBytes, (try? store.reserve(bytes: total, floor: limits.freeSpaceFloor)) != nil else {
      return
    }
    let unequalled = unequalled(listing.files)
    var unhashed = listing.files
    var ready: [ManifestEntry] = []
    while true {
      let known = await hashes.known
      if await hashes.isOver { return }
      if known.count > listing.files.count - unhashed.count {
        keepLeftovers(of: unhashed, under: known)
        let fresh = listing.entries(of: unhashed.filter { known[$0.path] != nil }, hashes: known)
        unhashed.removeAll { known[$0.path] != nil }
        let earlier = Set(ready.map(\.sha256))
        let missing = missing(of: fresh).filter { !earlier.contains($0.sha256) }
        note(missing)
        ready += missing
      }
      let outcome: Outcome
      if ready.reduce(0, { $0 + $1.byteCount }) >= Self.streamBytes {
        let batch = Self.batch(from: ready, store: store)
        outcome = try await fetch(batch.map { WantedFile($0) })
        if case .complete = outcome { ready.removeFirst(batch.count) } else { ready = missing(of: ready) }
      } else if let file = unequalled.first(where: { known[$0.path] == nil }) {
        outcome = try await fetch([WantedFile(unhashed: file, in: directory)], hashes: hashes)
        if case .complete = outcome, let hash = await hashes.known[file.path] { needed[hash] = file.byteCount }
      } else {
        await hashes.wait(beyond: known.count)
        continue
      }
      if case .changed = outcome { return }
    }
  }

  /// Big files whose size no other file and no object has.
  private func unequalled(_ files: [Listing.File]) -> [Listing.File] {
    let big = files.filter { $0.byteCount >= Self.bigBytes }
    if big.isEmpty { return [] }
    let counts = big.reduce(into: [:]) { $0[$1.byteCount, default: 0] += 1 }
    guard let held = try? store.objectSizes(from: Self.bigBytes) else { return [] }
    return big.filter { counts[$0.byteCount] == 1 && !held.contains($0.byteCount) }
  }

  /// What came of big files before their hashes were known is gone on with under these.
  private func keepLeftovers(of files: [Listing.File], under hashes: [String: String]) {
    for file in files where file.byteCount >= Self.bigBytes {
      guard let hash = hashes[file.path] else { continue }
      let part = WantedFile.part(of: file, in: directory)
      if store.contains(hash) {
        PartFile.removeLeftover(of: part, in: store)
        meter?.rename(part, to: nil)
      } else {
        PartFile.renameLeftover(of: part, to: hash, in: store)
        meter?.rename(part, to: hash)
      }
    }
  }

  typealias Logs = (files: [AttemptFiles.File], logs: [(name: String, bytes: [UInt8])])

  /// The last bytes of the attempt's logs and its records, with how much there was of each.
  func logs() async -> Result<Logs, GatheringError> {
    var own = self
    do throws(GatheringError) {
      return .success(try await own.fetchLogs())
    } catch {
      return .failure(error)
    }
  }

  private mutating func fetchLogs() async throws(GatheringError) -> Logs {
    let names = ["stdout.log", "stderr.log", "exit.json", "identity"]
    let command = HostCommand(
      in: directory,
      script: """
        for f in \(names.joined(separator: " ")); do
          [ -f $f ] && [ ! -L $f ] && [ -r $f ] || continue
          s=$(stat -c %s $f) && n=$s || exit 43
          [ $n -le \(limits.logBytes) ] || n=\(limits.logBytes)
          printf '%s %s %s\\n' $f $s $n
          tail -c +$((s - n + 1)) $f | head -c $n
        done
        """)
    let limit = (names.count + 1) * (limits.logBytes + 4096) + 1 << 20
    while true {
      let result: CommandResult
      do {
        result = try await transport.run(command.text, input: [], limit: limit, timeout: .seconds(300))
      } catch {
        try await pauseAfter(error)
        continue
      }
      guard let answer = command.answer(in: result.output) else {
        throw HostCommand.explain(result, directory: directory)
      }
      return try Self.parseLogs(answer, names: names, directory: directory)
    }
  }

  private static func parseLogs(
    _ answer: ArraySlice<UInt8>, names: [String], directory: String
  ) throws(GatheringError) -> (files: [AttemptFiles.File], logs: [(name: String, bytes: [UInt8])]) {
    var files: [AttemptFiles.File] = []
    var logs: [(name: String, bytes: [UInt8])] = []
    var rest = answer
    while let lineEnd = rest.firstIndex(of: UInt8(ascii: "\n")) {
      let fields = String(decoding: rest[..<lineEnd], as: UTF8.self).split(separator: " ")
      let body = rest[(lineEnd + 1)...]
      guard fields.count == 3, names.contains(String(fields[0])), let all = Int(fields[1]),
        let kept = Int(fields[2]), kept >= 0, kept <= all, kept <= body.count
      else { break }
      let name = String(fields[0])
      files.append(AttemptFiles.File(name: name, hostByteCount: all, keptByteCount: kept))
      logs.append((name, Array(body.prefix(kept))))
      rest = body.dropFirst(kept)
    }
    guard rest.isEmpty else {
      throw GatheringError(
        code: .listing, path: directory, message: "the logs changed size while they were read; gather again")
    }
    return (files, logs)
  }

  // MARK: Steps

  private enum Outcome {
    case complete
    case cut
    case changed(WantedFile, why: String)
  }

  /// One transfer of a batch. A resumed file is a batch of its own.
  /// - Parameter hashes: Of files that are fetched before their hashes are known.
  private mutating func fetch(
    _ batch: [WantedFile], hashes: HostHashes? = nil
  ) async throws(GatheringError) -> Outcome {
    let outcome = try await stream(batch, hashes: hashes)
    if case .complete = outcome {
      for file in batch { if let sha256 = file.sha256 { held[sha256] = file.byteCount } }
    } else {
      held = [:]
    }
    return outcome
  }

  private mutating func stream(_ batch: [WantedFile], hashes: HostHashes?) async throws(GatheringError) -> Outcome {
    guard let first = batch.first else { return .complete }
    var part: PartFile?
    if batch.count == 1, PartFile.leftover(of: first.part, in: store) > 0 {
      part = try PartFile(first, resuming: !discarded.contains(first.part), store: store)
    }
    let offset = part?.written ?? 0
    let command: HostCommand
    var input: [UInt8] = []
    if offset > 0 {
      command = HostCommand(
        in: directory + "/dumps", script: "tail -c +\(offset + 1) -- \(shellQuote("./" + first.path)) || exit 44")
    } else {
      // cat writes each small file by itself; every piece costs a wake-up on each side.
      let isManySmall = batch.count > 8 && batch.reduce(0) { $0 + $1.byteCount } / batch.count < 64 << 10
      // It also takes a buffer for each file, which glibc would ask the kernel for and give back each time: more work
      // than to copy 64 KiB.
      command = HostCommand(
        in: directory + "/dumps",
        script: "MALLOC_MMAP_THRESHOLD_=1048576 MALLOC_TRIM_THRESHOLD_=1048576 xargs -0 -r cat -- || exit 44",
        through: isManySmall ? "dd ibs=64k obs=64k status=none" : nil)
      for entry in batch { input += Array("./\(entry.path)\0".utf8) }
    }
    let receiver = BatchReceiver(
      files: batch, hashes: hashes, resuming: part.take(), marker: command.marker, store: store, meter: meter)
    let byteCount = batch.reduce(0) { $0 + $1.byteCount } - offset

    var failure: (any Error)?
    var result: CommandResult?
    do {
      // A MiB a second is the slowest that is worth waiting for; a cut one is gone on with.
      result = try await transport.stream(
        command.text, input: input, timeout: .seconds(120 + byteCount >> 20)
      ) { try await receiver.take($0) }
    } catch {
      failure = error
    }
    var isWhole = false
    if failure == nil {
      do { isWhole = try await receiver.end() } catch { failure = error }
    }
    let stop = await receiver.stop
    let finished = await receiver.finished
    let received = await receiver.bytesReceived
    try await receiver.close()
    bytesTransferred += received
    if finished > 0 || received >= 1 << 20 { failures = 0 }

    switch stop {
    case .failed(let error): throw error
    case .wrong(let index, let wasResumed):
      let file = batch[index]
      // The leftover may be what is wrong; once.
      if wasResumed, discarded.insert(file.part).inserted { return .cut }
      return .changed(file, why: "its bytes are not those that the manifest states")
    case .unhashed(let index): return .changed(batch[index], why: "the host did not hash it")
    case nil: break
    }
    if let failure {
      try await pauseAfter(failure)
      return .cut
    }
    if isWhole { return .complete }
    let file = batch[min(finished, batch.count - 1)]
    guard let result, result.status == 0 || result.status == 44 else {
      // The command or its connection was ended; what came before is kept.
      try await pauseAfter(
        TransportError(
          code: .connectionLost, host: "the host",
          message: "the transfer ended early (status \(result?.status ?? -1)): "
            + HostCommand.lastLine(of: result?.errorOutput ?? [])))
      return .cut
    }
    let why =
      result.errorOutput.isEmpty ? "another size than stated" : HostCommand.lastLine(of: result.errorOutput)
    return .changed(file, why: why)
  }

  private mutating func takeManifest(fetchingAhead: Bool = false) async throws(GatheringError) -> Manifest {
    while true {
      do throws(GatheringError) {
        guard fetchingAhead else {
          return try await Manifest.take(attemptDirectory: directory, transport: transport)
        }
        let listing = try await Manifest.list(attemptDirectory: directory, transport: transport)
        meter?.expect(listing.files.reduce(0) { $0 + $1.byteCount })
        let hashes = HostHashes()
        async let hashing = hashResult(of: listing.files, into: hashes)
        try await fetchAhead(listing, hashes)
        try await hashing.get()
        let known = await hashes.known
        keepLeftovers(of: listing.files, under: known)
        return listing.manifest(hashes: known)
      } catch {
        guard let cause = error.transport else { throw error }
        try await pauseAfter(cause)
      }
    }
  }

  private func hashResult(
    of files: [Listing.File], into hashes: HostHashes
  ) async -> Result<Void, GatheringError> {
    do throws(GatheringError) {
      return .success(try await Manifest.hash(files, directory: directory, transport: transport, into: hashes))
    } catch {
      return .failure(error)
    }
  }

  /// Waits before the next try, or throws where trying again is over.
  private mutating func pauseAfter(_ error: any Error) async throws(GatheringError) {
    guard let cause = error as? TransportError, !cause.isPermanent, failures < limits.retries else {
      throw GatheringError(error)
    }
    let pause = limits.pause * (1 << min(failures, 6))
    failures += 1
    logger.warning("Gathering goes on after a fault", metadata: ["fault": "\(cause)", "try": "\(failures)"])
    do { try await Task.sleep(for: pause) } catch { throw GatheringError(error) }
  }

  private func reserve(for missing: [ManifestEntry]) throws(GatheringError) {
    var bytes = 0
    let leftovers = PartFile.Leftovers(in: store)
    for entry in missing {
      let (sum, overflow) = bytes.addingReportingOverflow(
        max(0, entry.byteCount - leftovers.bytes(of: entry.sha256)))
      bytes = overflow ? .max : sum
    }
    try store.reserve(bytes: bytes, floor: limits.freeSpaceFloor)
  }

  /// One entry for each content that the store lacks, in their order.
  private mutating func missing(of entries: [ManifestEntry]) -> [ManifestEntry] {
    var seen: Set<String> = []
    var missing: [ManifestEntry] = []
    for entry in entries where seen.insert(entry.sha256).inserted {
      let byteCount = held[entry.sha256] ?? store.byteCount(of: entry.sha256) ?? -1
      held[entry.sha256] = byteCount
      if byteCount != entry.byteCount { missing.append(entry) }
    }
    return missing
  }

  /// The files of the next stream, the first of the missing: one with a leftover alone, else as many as make a list of paths that any pipe takes.
  private static func batch(from missing: [ManifestEntry], store: ArtifactStore) -> [ManifestEntry] {
    var batch: [ManifestEntry] = []
    var pathBytes = 0
    var bytes = 0
    let leftovers = PartFile.Leftovers(in: store)
    for entry in missing {
      if leftovers.bytes(of: entry.sha256) > 0 { return batch.isEmpty ? [entry] : batch }
      let (sum, overflow) = bytes.addingReportingOverflow(entry.byteCount)
      pathBytes += entry.path.utf8.count + 3
      if !batch.isEmpty, overflow || sum > 4 << 30 || pathBytes > 512 << 10 { break }
      bytes = sum
      batch.append(entry)
    }
    return batch
  }

  /// Names whose content, size or presence differ.
  private static func changes(from old: Manifest, to new: Manifest) -> [String] {
    let before = Dictionary(old.entries.map { ($0.path, $0.sha256) }) { first, _ in first }
    let after = Dictionary(new.entries.map { ($0.path, $0.sha256) }) { first, _ in first }
    return Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }.sorted()
  }
}
