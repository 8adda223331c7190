variable "region" {
  description = "Region of everything, the bucket of the binary included."
  type        = string
  default     = "eu-central-1"
}

variable "availability_zone" {
  description = "Zone of the brokers."
  type        = string
  default     = "eu-central-1a"
}

variable "name" {
  description = "Name of the cluster."
  type        = string
  default     = "varve"
}

variable "bucket_name" {
  description = "Name of the bucket that is made for the remote tier."
  type        = string
}

variable "binary" {
  description = "Where the varve binary is: s3://BUCKET/KEY in the same region, and its sha256."
  type        = object({ url = string, sha256 = string })
}

variable "ami_id" {
  description = "Image of the brokers; null: the newest Amazon Linux 2023."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether instances are protected from being deleted by others than Terraform."
  type        = bool
  default     = true
}
