import Foundation

/// Runs work over many elements with as many children as there are cores.
enum Bounded {
  /// Cores that this process may use. Asked once: the answer is read from files of the control group.
  private static let width = max(1, ProcessInfo.processInfo.activeProcessorCount)

  static func map<Element: Sendable, Result: Sendable>(
    _ elements: [Element], _ work: @escaping @Sendable (Element) async throws -> Result
  ) async throws -> [Result] {
    try await withThrowingTaskGroup(of: (Int, Result).self) { group in
      var results: [Result?] = Array(repeating: nil, count: elements.count)
      var next = 0
      func start() {
        guard next < elements.count else { return }
        let index = next
        next += 1
        group.addTask {
          try Task.checkCancellation()
          return (index, try await work(elements[index]))
        }
      }
      for _ in 0..<width { start() }
      while let (index, result) = try await group.next() {
        results[index] = result
        start()
      }
      return results.compactMap { $0 }
    }
  }
}
