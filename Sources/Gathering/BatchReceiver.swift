import Glibc
import Synchronization

/// Splits one stream of concatenated files by the manifest's sizes, and puts each into the store when its hash is right.
///
/// The first file whose bytes are wrong ends the batch: whether it changed itself or a change shifted what follows,
/// everything before it is whole and everything after it is not looked at.
actor BatchReceiver {
  /// Why the stream was given up.
  enum Stop: Error {
    /// The bytes of the file at this index are not those the manifest states.
    case wrong(index: Int, wasResumed: Bool)
    /// The host did not tell the hash of the file at this index.
    case unhashed(index: Int)
    /// The store or the answer failed; trying again does not help.
    case failed(GatheringError)
  }

  private let store: ArtifactStore
  private let files: [WantedFile]
  /// Of files that are fetched before their hashes are known.
  private let hashes: HostHashes?
  private let marker: [UInt8]
  private let meter: GatherMeter?
  /// Bytes before the marker; nil once it was seen.
  private var noise: [UInt8]? = []
  private var index = 0
  private var part: PartFile?
  /// Right by their hashes, not yet on disk and in the store.
  private var whole: [(part: PartFile, sha256: String)] = []
  private var wholeBytes = 0
  /// Parts that wait for the disk in this process, each with its file open: of all gathers together no more than half of
  /// the files that the process may have open.
  private static let held = Atomic(0)
  private static let mostHeld: Int = {
    var limit = rlimit()
    return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? Int(clamping: limit.rlim_cur / 2) : 128
  }()
  private(set) var stop: Stop?
  /// Dump bytes seen.
  private(set) var bytesReceived = 0

  /// Files that are whole; in the store once `close` returns.
  var finished: Int { index }

  /// - Parameter first: The first file's part where it is gone on with.
  init(
    files: [WantedFile], hashes: HostHashes?, resuming first: sending PartFile?, marker: [UInt8], store: ArtifactStore,
    meter: GatherMeter?
  ) {
    self.store = store
    self.files = files
    self.hashes = hashes
    self.marker = marker
    self.meter = meter
    part = first
  }

  func take(_ bytes: [UInt8]) async throws(Stop) {
    if let stop { throw stop }
    guard var noise else { return try await split(bytes[...]) }
    noise += bytes
    guard let start = HostCommand.find(marker, in: noise[...]) else {
      self.noise = noise
      if noise.count > 1 << 20 {
        try fail(GatheringError(code: .listing, message: "the host prints over 1 MiB of noise before its answer"))
      }
      return
    }
    self.noise = nil
    try await split(noise[(start + marker.count)...])
  }

  /// Ends the batch after the stream did, finishing what needs no more bytes.
  /// - Returns: True where every file is in the store and the stream held nothing but them.
  func end() async throws(Stop) -> Bool {
    if let stop { throw stop }
    guard noise == nil else { return false }
    try await split([])
    return index == files.count && trailing == marker
  }

  /// Keeps a cut file's bytes for the next transfer, and lets the store's names outlive a power cut.
  func close() throws(GatheringError) {
    if case .failed(let error) = stop, error.code == .noSpace { part?.discard() } else { part?.keep() }
    part = nil
    try commitWhole()
    if index > 0 { try FileSystem.syncDirectory(store.objectsPath) }
  }

  /// Sends whole files to disk together, which costs one wait for many, and then gives them their names.
  private func commitWhole() throws(GatheringError) {
    Self.held.subtract(whole.count, ordering: .relaxed)
    var ready = whole[...]
    whole = []
    wholeBytes = 0
    do throws(GatheringError) {
      let isOnDisk = if ready.count > 4, let first = ready.first { try first.part.syncFileSystem() } else { false }
      while let file = ready.first {
        try file.part.commit(as: file.sha256, isOnDisk: isOnDisk)
        ready.removeFirst()
      }
    } catch {
      for file in ready { file.part.discard() }
      throw error
    }
  }

  /// What came after the last file; at the end of a whole answer, the marker.
  private var trailing: [UInt8] = []

  private func split(_ bytes: ArraySlice<UInt8>) async throws(Stop) {
    var rest = bytes
    while index < files.count {
      let file = files[index]
      let part: PartFile
      do throws(GatheringError) {
        if let open = self.part {
          part = open
        } else {
          part = try PartFile(file, resuming: false, store: store)
          self.part = part
        }
        let piece = rest.prefix(part.remaining)
        if !piece.isEmpty {
          try part.append(piece)
          bytesReceived += piece.count
          meter?.note(file.part, written: part.written)
          rest = rest.dropFirst(piece.count)
        }
      } catch {
        try fail(error)
        return
      }
      if part.remaining > 0 { return }
      var stated = file.sha256
      if stated == nil { stated = await hashes?.hash(of: file.path) }
      guard let stated else { try give(up: .unhashed(index: index)) }
      guard part.sha256() == stated else {
        part.discard()
        self.part = nil
        try give(up: .wrong(index: index, wasResumed: part.isResumed))
      }
      do throws(GatheringError) { try part.seal() } catch { try fail(error) }
      self.part = nil
      index += 1
      whole.append((part, stated))
      wholeBytes += part.byteCount
      let held = Self.held.add(1, ordering: .relaxed).newValue
      if whole.count >= 256 || wholeBytes >= 32 << 20 || held >= Self.mostHeld {
        do throws(GatheringError) { try commitWhole() } catch { try fail(error) }
      }
    }
    trailing += rest.prefix(marker.count + 1 - min(trailing.count, marker.count + 1))
  }

  private func fail(_ error: GatheringError) throws(Stop) { try give(up: .failed(error)) }

  private func give(up stop: Stop) throws(Stop) -> Never {
    self.stop = stop
    throw stop
  }
}
