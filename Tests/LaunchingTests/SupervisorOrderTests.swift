import Testing

@testable import Launching

/// What a launcher sends to the supervisor on its machine.
@Suite struct SupervisorOrderTests {
  private func order(_ id: String, _ files: [ShippedFile]) -> SupervisorOrder {
    SupervisorOrder(
      id: id, token: "t", limit: 60, command: "true", specification: [1, 2], jobCommit: "",
      environment: [AttemptSpec.EnvironmentEntry(name: "A", value: id)], files: files)
  }

  @Test func `what many runs share goes once, and arrives in each`() throws {
    let shared = [UInt8](repeating: 7, count: 64 << 10)
    let orders = (0..<256).map { number in
      order(
        "a\(number)",
        [
          ShippedFile(name: "model.py", contents: shared, isExecutable: number % 2 == 0),
          ShippedFile(name: "own", contents: [UInt8(number)], isExecutable: false),
          ShippedFile(name: "empty", contents: [], isExecutable: false),
        ])
    }
    let message = try #require(SupervisorOrder.message(orders))
    #expect(message.count < 2 * shared.count)
    #expect(SupervisorOrder.byteCount(message.prefix(4)) == message.count - 4)
    let read = try #require(SupervisorOrder.read(message.dropFirst(4)))
    #expect(read == orders)
    #expect(SupervisorOrder.read(message.dropFirst(4).dropLast()) == nil)
  }

  @Test func `more than a supervisor takes is not sent`() {
    let files = [7, 8].map { ShippedFile(name: "\($0)", contents: [$0, $0], isExecutable: false) }
    guard let all = SupervisorOrder.message([order("a", files)]) else {
      Issue.record("it is small")
      return
    }
    #expect(SupervisorOrder.message([order("a", files)], limit: all.count - 4) == all)
    #expect(SupervisorOrder.message([order("a", files)], limit: all.count - 5) == nil)
  }
}
