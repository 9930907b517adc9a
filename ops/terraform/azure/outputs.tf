output "addresses" {
  description = "Where the service answers, from within the network."
  value       = [for one in azurerm_network_interface.this : "http://${one.private_ip_address}:8000"]
}

output "public_addresses" {
  description = "Public addresses, where there are any."
  value       = azurerm_public_ip.this[*].ip_address
}

output "network_id" {
  description = "The network, to peer with the callers'."
  value       = azurerm_virtual_network.this.id
}

output "identities" {
  description = "The machines' identities, for further rights (a storage account with models, say)."
  value       = azurerm_linux_virtual_machine.this[*].identity[0].principal_id
}
